package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	agentProgram  = "sallyport-agent"
	sampleProgram = "sallyport-sample-app"
	commandPath   = "github.com/sallyport-auth/sallyport/cmd/"
)

// findPrograms returns the paths of the agent and of the sample application: beside this executable, where packages put them,
// or built from the source that the Go tool finds from the working directory.
func findPrograms(ctx context.Context, into string, progress func(string, ...any)) (agent, sample string, err error) {
	suffix := ""
	if runtime.GOOS == "windows" {
		suffix = ".exe"
	}
	if self, err := os.Executable(); err == nil {
		dir := filepath.Dir(self)
		agent, sample = filepath.Join(dir, agentProgram+suffix), filepath.Join(dir, sampleProgram+suffix)
		if isFile(agent) && isFile(sample) {
			return agent, sample, nil
		}
	}
	if _, err := exec.LookPath("go"); err != nil {
		return "", "", fmt.Errorf("%s and %s are neither beside this program nor can they be built: the Go tool is not installed", agentProgram, sampleProgram)
	}
	progress("building %s and %s (the first time takes a minute)", agentProgram, sampleProgram)
	build := exec.CommandContext(ctx, "go", "build", "-tags", "grpcnotrace", "-o", into+string(filepath.Separator), commandPath+agentProgram, commandPath+sampleProgram)
	var said bytes.Buffer
	build.Stdout, build.Stderr = &said, &said
	if err := build.Run(); err != nil {
		if ctx.Err() != nil {
			return "", "", ctx.Err()
		}
		return "", "", fmt.Errorf("%s and %s cannot be built (run the demonstration from the source folder): %w\n%s",
			agentProgram, sampleProgram, err, strings.TrimSpace(said.String()))
	}
	agent, sample = filepath.Join(into, agentProgram+suffix), filepath.Join(into, sampleProgram+suffix)
	if !isFile(agent) || !isFile(sample) {
		return "", "", errors.New("the Go tool built the programs but they are not where they should be")
	}
	return agent, sample, nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
