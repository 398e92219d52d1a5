#!/bin/sh
# Regenerates wire/linkpb/link.pb.go. Needs protoc 3.21 (Debian: protobuf-compiler); the plugin is pinned in go.mod here.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
(cd "$root/tools/protobuf" && go build -o "$bin/" google.golang.org/protobuf/cmd/protoc-gen-go)
cd "$root"
PATH="$bin:$PATH" protoc --go_out=. --go_opt=module=github.com/sallyport-auth/sallyport wire/linkpb/link.proto
