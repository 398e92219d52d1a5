// Package linkpb is generated from link.proto: the messages on the stream between an agent and a gateway. It holds no
// behaviour; the two ends are agent/link and service/gateway.
package linkpb

//go:generate sh ../../tools/protobuf/generate.sh
