// Package picture fetches the pictures of people for the wall's own pages, so that
// who looks at whom is known to nobody but the wall. It owns what may be fetched, how,
// and what becomes of it: a small JPEG of our own making.
//
// # Threats
//
// The address is a claim: at many providers people set it themselves. So it is taken
// for hostile, as is whatever answers there.
//
// A request from inside the network can reach what its sender could not (server-side
// request forgery). Only https is spoken, only to the provider's own origin, which the
// wall talks to anyway, and for Google to the hosts of what its users upload; those
// must have a public address in the moment of the connection, whatever their name
// meant before (DNS rebinding). Redirects are not followed. The request carries
// nothing about anybody. No proxy of the environment is asked: it would look names up
// for itself.
//
// The bytes would be served from our origin. None of them is: what is no JPEG, PNG or
// GIF is nothing, and of those only pixels are taken and written anew, so that there is
// no SVG, no metadata and no file that is two things at once. Dimensions are read before
// pixels are, and decoding ends when its time is over: a progressive JPEG of 256 KiB can
// ask for most of a minute of work.
//
// Time, size, number at once and memory are bounded, and what failed is not tried again
// for a while. There is no WebP, which the standard library does not read: hosts that
// are asked for JPEG send JPEG.
package picture
