package store

var NetworkName = networkName
