package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// apart gives the last core to the children of this process, the others to this process, until the benchmark ends.
func apart(b *testing.B) {
	cores := runtime.NumCPU()
	if cores < 2 {
		b.Skip("a directory can have a core of its own only where there are two")
	}
	var whole, theirs, ours unix.CPUSet
	if err := unix.SchedGetaffinity(0, &whole); err != nil {
		b.Skip(err)
	}
	theirs.Set(cores - 1)
	for i := range cores - 1 {
		ours.Set(i)
	}
	pin := func(set *unix.CPUSet, pids ...int) {
		for _, pid := range pids {
			tasks := must(os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task")))(b)
			for _, task := range tasks {
				if id, err := strconv.Atoi(task.Name()); err == nil {
					_ = unix.SchedSetaffinity(id, set) // a thread may have ended meanwhile
				}
			}
		}
	}
	children := descendants(os.Getpid())
	if len(children) == 0 {
		b.Fatal("the directory is no child of this process")
	}
	before := runtime.GOMAXPROCS(cores - 1)
	pin(&theirs, children...)
	pin(&ours, os.Getpid())
	b.Cleanup(func() {
		runtime.GOMAXPROCS(before)
		pin(&whole, os.Getpid())
	})
}

// descendants returns all processes below one.
func descendants(of int) []int {
	parents := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well formed
	for _, file := range stats {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // ended
		}
		fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if parent, err := strconv.Atoi(string(fields[1])); err == nil {
			parents[parent] = append(parents[parent], pid)
		}
	}
	var all []int
	for next := parents[of]; len(next) > 0; next = next[1:] {
		all = append(all, next[0])
		next = append(next, parents[next[0]]...)
	}
	return all
}
