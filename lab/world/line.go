package world

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// Line carries TCP connections to the first of its targets that takes them, and can be watched, frozen and cut. What it carries
// is TLS or the broker's protocol: it reads lengths and directions, never contents.
type Line struct {
	listener net.Listener
	// proxy makes it an HTTP proxy for CONNECT whose targets are its own, whatever it is asked for.
	proxy bool

	mu      sync.Mutex // guards the rest
	targets []string
	turn    int // the target to begin with; it moves on when rotate is set
	rotate  bool
	open    map[*tunnel]struct{}
	still   chan struct{} // not nil while frozen; closed by the thaw
	closed  bool
	tasks   sync.WaitGroup
}

// Chunk is a piece of a connection as it was read: upwards, from who dialled, or down.
type Chunk struct {
	Up    bool
	Bytes int
}

// tunnel is one connection.
type tunnel struct {
	near, far *net.TCPConn
	watch     atomic.Pointer[func(Chunk)]
	over      chan struct{}
	once      sync.Once
}

// newLine listens on a port of loopback.
func newLine(proxy, rotate bool, targets ...string) (*Line, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Line{listener: listener, proxy: proxy, rotate: rotate, targets: targets, open: map[*tunnel]struct{}{}}
	l.tasks.Go(l.accept)
	return l, nil
}

// Address is where the line begins.
func (l *Line) Address() string { return l.listener.Addr().String() }

// Lead gives new connections other targets; those that are open stay.
func (l *Line) Lead(targets ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.targets = slices.Clone(targets)
}

// Open counts connections.
func (l *Line) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// Watch calls f with every chunk of the connections that are open now, before it is passed on: if f cuts or freezes the line, the
// chunk is not. f runs on several goroutines. nil ends watching.
func (l *Line) Watch(f func(Chunk)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t := range l.open {
		if f == nil {
			t.watch.Store(nil)
		} else {
			t.watch.Store(&f)
		}
	}
}

// Freeze holds everything back, or lets it go on.
func (l *Line) Freeze(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case on && l.still == nil:
		l.still = make(chan struct{})
	case !on && l.still != nil:
		close(l.still)
		l.still = nil
	}
}

// Cut resets the connections that are open now; new ones are taken.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t := range l.open {
		t.cut()
	}
}

// cut resets both ends.
func (t *tunnel) cut() { t.end(true) }

// end closes both ends; not hard, what was written still arrives.
func (t *tunnel) end(hard bool) {
	t.once.Do(func() {
		close(t.over)
		for _, c := range []*net.TCPConn{t.near, t.far} {
			if hard {
				_ = c.SetLinger(0)
			}
			_ = c.Close()
		}
	})
}

// close ends the line and all it carries.
func (l *Line) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	_ = l.listener.Close()
	l.Freeze(false)
	l.Cut()
	l.tasks.Wait()
}

func (l *Line) accept() {
	for {
		c, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.tasks.Go(func() { l.carry(c.(*net.TCPConn)) })
	}
}

// carry is the life of one connection.
func (l *Line) carry(near *net.TCPConn) {
	far := l.dial()
	if far == nil {
		_ = near.SetLinger(0)
		_ = near.Close()
		return
	}
	t := &tunnel{near: near, far: far, over: make(chan struct{})}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		t.cut()
		return
	}
	l.open[t] = struct{}{}
	l.mu.Unlock()
	defer func() {
		t.end(false)
		l.mu.Lock()
		delete(l.open, t)
		l.mu.Unlock()
	}()
	if l.proxy && !greet(near) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.pump(t, near, far, true) })
	both.Go(func() { l.pump(t, far, near, false) })
	both.Wait()
}

// greet answers the CONNECT of a client, which says nothing more before it has read that.
func greet(near *net.TCPConn) bool {
	request, err := http.ReadRequest(bufio.NewReader(near))
	if err != nil || request.Method != http.MethodConnect {
		return false
	}
	_, err = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
	return err == nil
}

// dial tries the targets in turn.
func (l *Line) dial() *net.TCPConn {
	l.mu.Lock()
	targets, turn := l.targets, l.turn
	if l.rotate {
		l.turn++
	}
	l.mu.Unlock()
	for i := range targets {
		if c, err := net.DialTimeout("tcp", targets[(turn+i)%len(targets)], dialTimeout); err == nil {
			return c.(*net.TCPConn)
		}
	}
	return nil
}

// pump carries one direction until it ends.
func (l *Line) pump(t *tunnel, from, to *net.TCPConn, up bool) {
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if f := t.watch.Load(); f != nil {
				(*f)(Chunk{Up: up, Bytes: n})
			}
			if !l.wait(t) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				t.cut()
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if !l.wait(t) {
				return
			}
			_ = to.CloseWrite() // the other direction finds out what is wrong, if anything is
			return
		case err != nil:
			t.cut()
			return
		}
	}
}

// wait stands still with a frozen line; false when the connection was cut.
func (l *Line) wait(t *tunnel) bool {
	for {
		l.mu.Lock()
		still := l.still
		l.mu.Unlock()
		if still == nil {
			select {
			case <-t.over:
				return false
			default:
				return true
			}
		}
		select {
		case <-still:
		case <-t.over:
			return false
		}
	}
}
