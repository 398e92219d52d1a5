# Everything a person or a machine does with this repository. "make test" is what CI runs.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
GO      ?= go
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# Without grpcnotrace gRPC links golang.org/x/net/trace and with it templates, which the agent must not hold.
RELEASE  = CGO_ENABLED=0 $(GO) build -trimpath -tags grpcnotrace -buildvcs=false -ldflags '$(LDFLAGS)'

.PHONY: build cross test lint fuzz bench bench-uniformity soak failover bench-hot demo generate clean

build: ## the three programs, static, into bin/
	$(RELEASE) -o bin/ ./cmd/...

cross: ## the agent for the other systems it runs on, into dist/
	GOOS=windows GOARCH=amd64 $(RELEASE) -o dist/windows-amd64/ ./cmd/sallyport-agent
	GOOS=linux GOARCH=arm64 $(RELEASE) -o dist/linux-arm64/ ./cmd/sallyport-agent

lint: ## gofmt, go vet (also as the agent's Windows build sees it), staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not gofmt-ed:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	GOOS=windows $(GO) vet ./cmd/sallyport-agent ./agent/...
	$(GO) vet -tags codes .
	cd tools/staticcheck && $(GO) build -buildvcs=false -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./...

test: ## everything, against a real domain controller, database and browser; installs what it needs where it may
	sh tools/test/run.sh

fuzz: ## every decoder of outside bytes for some seconds, or FUZZTIME=5m each; tools/fuzz/keep.sh then keeps the best inputs
	sh tools/fuzz/run.sh

bench: ## the whole path against the directory itself; writes the figures into docs/benchmarks.md. Wants a quiet machine.
	mkdir -p bin && rm -f bin/bench.txt
	$(GO) test -timeout 30m -run '^$$' -bench 'Checks|Latency' -benchtime 3000x ./lab/bench | tee -a bin/bench.txt
	$(GO) test -timeout 30m -run '^$$' -bench 'Validators' -benchtime 1500x ./lab/bench | tee -a bin/bench.txt
	$(GO) test -timeout 30m -run '^$$' -bench 'Bytes' -benchtime 1000x ./lab/bench | tee -a bin/bench.txt
	$(GO) test -timeout 30m -run '^$$' -bench 'SignIns' -benchtime 4000x ./lab/bench | tee -a bin/bench.txt
	$(GO) test -timeout 30m -run '^$$' -bench 'Idle' -benchtime 150x ./lab/bench | tee -a bin/bench.txt
	$(GO) test -timeout 30m -run '^$$' -bench 'Fleet' -benchtime 3x ./lab/bench | tee -a bin/bench.txt
	$(GO) test -timeout 30m -run '^$$' -bench 'Spread' -benchtime 1000x ./lab/bench | tee -a bin/bench.txt
	$(GO) run ./lab/bench/report docs/benchmarks.md < bin/bench.txt

bench-uniformity: ## what a stranger can tell from times, for docs/benchmarks.md: a quarter of an hour
	mkdir -p bin
	$(GO) test -timeout 60m -run '^$$' -bench 'Uniformity' -benchtime 300x ./lab/bench | tee bin/uniformity.txt
	$(GO) run ./lab/bench/report docs/benchmarks.md < bin/uniformity.txt

soak: ## ten minutes of sign-ins while agents, streams and directory connections are killed, for docs/benchmarks.md
	mkdir -p bin
	SALLYPORT_SOAK=10m $(GO) test -count=1 -timeout 30m -run "^TestSoak$$" -v ./lab/world | tee bin/soak.txt
	$(GO) run ./lab/bench/report docs/benchmarks.md < bin/soak.txt

failover: ## sign-ins while a domain controller freezes, dies, or its packets are dropped, for docs/benchmarks.md: two minutes, as root
	mkdir -p bin
	$(GO) test -count=1 -run "^TestFailOver$$" -v ./lab/domains | tee bin/failover.txt
	$(GO) run ./lab/bench/report docs/benchmarks.md < bin/failover.txt

bench-hot: ## benchmarks of the hot code, package by package
	$(GO) test -run '^$$' -bench . -benchmem ./envelope ./service/... ./agent/... ./lab/evaluation

demo: ## the whole system on this machine
	$(GO) run ./cmd/sallyport demo

generate: ## regenerate what is generated: protobuf, docs/errors.md
	$(GO) generate ./...

clean:
	rm -rf bin dist
