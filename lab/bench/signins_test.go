package bench

import (
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/sallyport-auth/sallyport/lab/people"
	"github.com/sallyport-auth/sallyport/lab/visitor"
	"github.com/sallyport-auth/sallyport/lab/world"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
)

// browsers is how many people sign in at once. Each comes from an address of their own: the service limits what one address may post.
const browsers = 64

// shapes are the ways to run the service.
var shapes = []struct {
	name  string
	split bool
}{{"one-process", false}, {"split", true}}

// installed runs the real programs with some agents and the embedded directory.
func installed(b *testing.B, split bool, agents int) *world.World {
	dir := b.TempDir()
	o := world.Options{Programs: must(world.Build(b.Context(), dir))(b), Dir: dir, Agents: agents, People: crowd(), Quiet: true}
	if split {
		o.Database = dbtest.Schema(b, dbtest.Postgres(b))
		broker := must(natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true}))(b)
		broker.Start()
		b.Cleanup(func() { broker.Shutdown(); broker.WaitForShutdown() })
		if !broker.ReadyForConnections(time.Minute) {
			b.Fatal("the broker does not start")
		}
		o.Broker = broker.Addr().String()
	}
	w := must(world.Start(b.Context(), o))(b)
	b.Cleanup(w.Close)
	return w
}

// window is one person's browser on one of the sign-in processes: the transport stays, as a browser's connection does, the cookies
// are new for each sign-in.
type window struct {
	app       visitor.App
	transport *http.Transport
	fresh     bool // connects anew for each sign-in
}

func (v window) signIn(b *testing.B, who people.Person) {
	saw, err := visitor.New(v.app, v.transport).SignIn(b.Context(), who.UPN, people.RightPassword)
	if err != nil || saw.SignedIn == "" {
		b.Errorf("%s: %+v, %v", who.UPN, saw, err)
	}
	if v.fresh {
		v.transport.CloseIdleConnections()
	}
}

// windows opens the browsers.
func windows(b *testing.B, w *world.World, fresh bool) chan window {
	all := make(chan window, browsers)
	app := must(w.App.Discovered(b.Context(), w.Browser(w.Signins[0], net.IPv4(127, 9, 0, 250))))(b)
	for i := range browsers {
		t := w.Browser(w.Signins[i%len(w.Signins)], net.IPv4(127, 9, 0, byte(i+1)))
		b.Cleanup(t.CloseIdleConnections)
		all <- window{app, t, fresh}
	}
	return all
}

// BenchmarkSignIns reports whole sign-ins a second, from the application's request over pages and password to the ID token, through
// the real programs, and what each of them uses for one. The browsers and the directory are this process and share the processor.
func BenchmarkSignIns(b *testing.B) {
	for _, shape := range shapes {
		for _, connect := range []string{"kept", "new"} {
			b.Run(shape.name+"/"+connect+"-connections", func(b *testing.B) {
				w := installed(b, shape.split, 1)
				open := windows(b, w, connect == "new")
				everybody := crowd()
				signIn := func(i int) {
					v := <-open
					defer func() { open <- v }()
					v.signIn(b, everybody[i%accounts])
				}
				var warm, all phase
				warm.measure(2*accounts, browsers, signIn)
				parts := map[string][]*world.Node{"agent": w.Agents, "service": w.Signins}
				if shape.split {
					parts["gateway"] = w.Gateways
				}
				before := map[string]time.Duration{}
				for part, nodes := range parts {
					before[part], _ = used(b, nodes)
				}
				b.ResetTimer()
				turns(b.N, func(n int) { all.measure(n, browsers, signIn) })
				b.StopTimer()
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(all.rate(), "sign-ins/s")
				b.ReportMetric(all.at(50), "p50-ms")
				b.ReportMetric(all.at(99), "p99-ms")
				b.ReportMetric(float64(all.cpu.Microseconds())/float64(b.N), "browser-cpu-us")
				for part, nodes := range parts {
					cpu, memory := used(b, nodes)
					b.ReportMetric(float64((cpu-before[part]).Microseconds())/float64(b.N), part+"-cpu-us")
					b.ReportMetric(memory, part+"-MB")
				}
			})
		}
	}
}

// used adds up what processes have used, and their memory in MB.
func used(b *testing.B, nodes []*world.Node) (cpu time.Duration, memory float64) {
	for _, n := range nodes {
		u := must(n.Usage())(b)
		cpu += u.CPU
		memory += float64(u.Resident) / 1e6
	}
	return cpu, memory
}

// BenchmarkIdle reports the resident memory of the programs that have just started, and the processor time that they use for doing
// nothing. One operation is a tenth of a second of idleness.
func BenchmarkIdle(b *testing.B) {
	w := installed(b, false, 1)
	service, agent := w.Signins, w.Agents
	serviceBefore, _ := used(b, service)
	agentBefore, _ := used(b, agent)
	var waited atomic.Int64
	for b.Loop() {
		<-time.After(100 * time.Millisecond)
		waited.Add(1)
	}
	seconds := float64(waited.Load()) / 10
	for part, of := range map[string]struct {
		nodes  []*world.Node
		before time.Duration
	}{"service": {service, serviceBefore}, "agent": {agent, agentBefore}} {
		cpu, memory := used(b, of.nodes)
		b.ReportMetric(memory, part+"-MB")
		b.ReportMetric(float64((cpu-of.before).Milliseconds())/seconds, fmt.Sprintf("%s-cpu-ms/s", part))
	}
	b.ReportMetric(0, "ns/op")
}
