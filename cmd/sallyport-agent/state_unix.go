//go:build unix

package main

// defaultState is where packages and the systemd unit (StateDirectory=sallyport-agent) put the state folder.
const defaultState = "/var/lib/sallyport-agent"
