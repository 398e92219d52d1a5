// Package process runs programs as children of a lab: it finds or builds this product's own, hands out free ports, keeps each
// child's output in a file, and ends children orderly or as a crash would. A child never outlives its parent where the system can
// promise that (Linux).
//
// It knows nothing of what the programs do. It is called by packages demo and world.
package process
