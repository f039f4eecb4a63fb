package store

import "syscall"

// networkFileSystem names the network file system that a folder is on, or
// returns "". The numbers are those of statfs(2). FUSE is let pass: it may be
// local, and what it cannot do SQLite finds out.
func networkFileSystem(folder string) (string, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil {
		return "", err
	}
	return networkName(uint32(st.Type)), nil
}

func networkName(magic uint32) string {
	switch magic {
	case 0x6969:
		return "NFS"
	case 0x517b, 0xff534d42, 0xfe534d42:
		return "SMB"
	case 0x01021997:
		return "9p"
	case 0x5346414f, 0x6b414653:
		return "AFS"
	case 0x73757245:
		return "Coda"
	case 0x00c36400:
		return "Ceph"
	case 0x0bd00bd0:
		return "Lustre"
	case 0x47504653:
		return "GPFS"
	}
	return ""
}
