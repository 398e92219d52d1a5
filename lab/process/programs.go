package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// commandPath is where the commands lie.
const commandPath = "github.com/sallyport-auth/sallyport/cmd/"

// Find returns the paths of commands of this product, in the order of their names: beside this executable, where packages put
// them, or built into a folder from the source that the Go tool finds from the working directory. progress may be nil.
func Find(ctx context.Context, into string, progress func(string, ...any), names ...string) ([]string, error) {
	if self, err := os.Executable(); err == nil {
		if found := in(filepath.Dir(self), names); found != nil {
			return found, nil
		}
	}
	said := strings.Join(names, " and ")
	if _, err := exec.LookPath("go"); err != nil {
		return nil, fmt.Errorf("%s: neither beside this program nor to be built: the Go tool is not installed", said)
	}
	if progress != nil {
		progress("building %s (the first time takes a minute)", said)
	}
	args := []string{"build", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", into + string(filepath.Separator)}
	for _, name := range names {
		args = append(args, commandPath+name)
	}
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("%s cannot be built (run this from the source folder): %w\n%s", said, err, strings.TrimSpace(string(out)))
	}
	found := in(into, names)
	if found == nil {
		return nil, errors.New("the Go tool built the programs but they are not where they should be")
	}
	return found, nil
}

// in returns the paths of all programs in a folder, nil unless all are there.
func in(dir string, names []string) []string {
	suffix := ""
	if runtime.GOOS == "windows" {
		suffix = ".exe"
	}
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = filepath.Join(dir, name+suffix)
		if info, err := os.Stat(out[i]); err != nil || !info.Mode().IsRegular() {
			return nil
		}
	}
	return out
}
