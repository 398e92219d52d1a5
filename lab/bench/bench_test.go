// Package bench measures what the product costs, against the physical limit: the directory itself, asked by a tight loop of binds
// on kept connections.
//
//	direct   go-ldap ── LDAPS ──▶ directory
//	through  password.Check ── queue ── gateway ══ mutual TLS ══ agent ── LDAPS ──▶ the same directory
//
// Both are driven in one run, in turns, at the same concurrency, so that a busy machine slows both; what counts is the ratio.
// BenchmarkChecks and BenchmarkLatency have service, gateway and agent in this process; BenchmarkSignIns runs the real programs and
// lets browsers' HTTP go all the way from the application and back to it.
//
//	make bench      runs everything and writes docs/benchmarks.md anew
package bench

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// rounds is how often direct and through take turns.
const rounds = 10

// phase is what one way of asking took in all rounds together.
type phase struct {
	wall  time.Duration
	cpu   time.Duration
	times []time.Duration
}

// measure runs n operations on workers, each as fast as it can, and adds to the phase.
func (p *phase) measure(n, workers int, operation func(i int)) {
	times := make([]time.Duration, n)
	var next atomic.Int64
	p.add(times, func() {
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					at := time.Now()
					operation(i)
					times[i] = time.Since(at)
				}
			})
		}
		group.Wait()
	})
}

// pace begins n operations at a steady rate, whether or not those before are done, and adds to the phase.
func (p *phase) pace(n int, perSecond float64, operation func(i int)) {
	times := make([]time.Duration, n)
	p.add(times, func() {
		var group sync.WaitGroup
		began := time.Now()
		for i := range n {
			time.Sleep(time.Until(began.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))))
			group.Go(func() {
				at := time.Now()
				operation(i)
				times[i] = time.Since(at)
			})
		}
		group.Wait()
	})
}

func (p *phase) add(times []time.Duration, work func()) {
	cpu, began := cpuTime(), time.Now()
	work()
	p.wall += time.Since(began)
	p.cpu += cpuTime() - cpu
	p.times = append(p.times, times...)
}

func (p *phase) rate() float64 { return float64(len(p.times)) / p.wall.Seconds() }

// at returns a percentile in milliseconds.
func (p *phase) at(percent int) float64 {
	slices.Sort(p.times)
	return float64(p.times[(len(p.times)-1)*percent/100].Microseconds()) / 1000
}

// cpuTime is the processor time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// turns calls f with the sizes of rounds that are n together.
func turns(n int, f func(n int)) {
	for left := n; left > 0; {
		size := min(left, max(n/rounds, 1))
		left -= size
		f(size)
	}
}

// places are the directories that are measured.
var places = []struct {
	name string
	open func(*testing.B) place
}{{"evaluation", evaluationPlace}, {"samba", sambaPlace}, {"samba-own-core", apartPlace}}

// BenchmarkChecks reports, side by side, the rate of direct binds and of checks through the product with one agent, their ratio, and
// the processor time that the product adds to a check: that of this process, less what the direct binds took.
func BenchmarkChecks(b *testing.B) {
	for _, where := range places {
		b.Run(where.name, func(b *testing.B) {
			at := where.open(b)
			through := newPath(b, at, 1)
			for _, workers := range []int{1, 4, 8, 16, 32} {
				b.Run(fmt.Sprint(workers), func(b *testing.B) {
					free := newBinders(b, at, workers)
					var direct, product phase
					b.ResetTimer()
					turns(b.N, func(n int) {
						direct.measure(n, workers, func(i int) { free.bind(b, at.people[i%accounts]) })
						product.measure(n, workers, func(i int) { through.check(b, at.people[i%accounts]) })
					})
					b.StopTimer()
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(direct.rate(), "direct/s")
					b.ReportMetric(product.rate(), "through/s")
					b.ReportMetric(100*product.rate()/direct.rate(), "%of-direct")
					b.ReportMetric(float64((product.cpu-direct.cpu).Microseconds())/float64(len(product.times)), "added-cpu-us/check")
				})
			}
		})
	}
}

// BenchmarkLatency reports what the product adds to the time of a check when the directory is half busy: checks begin at half the
// rate that the slower of the two ways reaches, measured first, and are not held back by one another.
func BenchmarkLatency(b *testing.B) {
	const workers = 16
	for _, where := range places {
		b.Run(where.name, func(b *testing.B) {
			at := where.open(b)
			through := newPath(b, at, 1)
			free := newBinders(b, at, workers)
			var direct, product phase
			direct.measure(1000, workers, func(i int) { free.bind(b, at.people[i%accounts]) })
			product.measure(1000, workers, func(i int) { through.check(b, at.people[i%accounts]) })
			half := min(direct.rate(), product.rate()) / 2
			direct, product = phase{}, phase{}
			b.ResetTimer()
			turns(b.N, func(n int) {
				direct.pace(n, half, func(i int) { free.bind(b, at.people[i%accounts]) })
				product.pace(n, half, func(i int) { through.check(b, at.people[i%accounts]) })
			})
			b.StopTimer()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(half, "load/s")
			b.ReportMetric(direct.at(50), "direct-p50-ms")
			b.ReportMetric(direct.at(99), "direct-p99-ms")
			b.ReportMetric(product.at(50)-direct.at(50), "added-p50-ms")
			b.ReportMetric(product.at(99)-direct.at(99), "added-p99-ms")
		})
	}
}

// BenchmarkBytes reports what a check costs in bytes between gateway and agents, TLS and all, for fleets of several sizes.
func BenchmarkBytes(b *testing.B) {
	at := evaluationPlace(b)
	for _, agents := range []int{1, 3, 40} {
		b.Run(fmt.Sprint(agents), func(b *testing.B) {
			through := newPath(b, at, agents)
			up, down := through.link.up.Load(), through.link.down.Load()
			b.ResetTimer()
			for i := range b.N {
				through.check(b, at.people[i%accounts])
			}
			b.StopTimer()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(through.link.down.Load()-down)/float64(b.N), "request-bytes/check")
			b.ReportMetric(float64(through.link.up.Load()-up)/float64(b.N), "answer-bytes/check")
		})
	}
}
