package world

import "time"

const (
	// startTimeout bounds the wait for a process to be ready and for agents to be attached: a second, on a busy machine several.
	startTimeout = 45 * time.Second
	// stopGrace is longer than any process drains.
	stopGrace = 30 * time.Second
	// drain is what the service's processes are given: the longest check lasts 15 s.
	drain = "20s"
	// poll is how often conditions are looked at.
	poll = 20 * time.Millisecond
	// dialTimeout bounds a line's way to its target, on this machine.
	dialTimeout = 2 * time.Second
	// chunk is what a line reads at once: more than the largest envelope with its frames, so that a check is seen in one or two
	// pieces.
	chunk = 16 << 10
	// firstPort and portSpread are where listeners of processes lie: below the ports that systems give to outgoing connections, so
	// that a process that was killed finds its port free when it comes back.
	firstPort, portSpread = 20000, 10000
	// portRange is how many of them one world has: four processes with four listeners at most, the agents' monitors, and the claim. portTries bounds the search.
	portRange, portTries = 64, 100
)
