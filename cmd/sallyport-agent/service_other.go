//go:build !linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kardianos/service"
)

const serviceName = "SallyportAgent"

// defaultConfig lies beside the state folder.
var defaultConfig = filepath.Join(filepath.Dir(defaultState), "agent.yaml")

// nothing is what the library wants to start; installing and asking need none.
type nothing struct{}

func (nothing) Start(service.Service) error { return nil }
func (nothing) Stop(service.Service) error  { return nil }

// handle is the library's view of the service. On Windows it runs under a virtual account, which has no password and no rights but
// those that its folders give it, and is started again five seconds after a failure.
func (i installation) handle() (service.Service, error) {
	return service.New(nothing{}, &service.Config{
		Name: serviceName, DisplayName: "Sallyport agent", Description: "Checks passwords beside Active Directory for a Sallyport service.",
		UserName: serviceAccount, Executable: i.program, Arguments: []string{"run", "--config", i.config, "--state", i.state},
		Option: service.KeyValue{"DelayedAutoStart": true, "OnFailure": "restart", "OnFailureDelayDuration": "5s", "OnFailureResetPeriod": 3600},
	})
}

func (i installation) install(ctx context.Context, t *terminal) error {
	if i.root != "" {
		return &usageError{fmt.Errorf("--root is for Linux")}
	}
	s, err := i.handle()
	if err != nil {
		return err
	}
	if err := s.Install(); err != nil {
		return fmt.Errorf("service: %w (an administrator may; an installed one is removed with: sallyport-agent service uninstall)", err)
	}
	if _, err := os.Stat(i.config); err != nil {
		if err := os.MkdirAll(filepath.Dir(i.config), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(i.config, []byte(settingsTemplate), 0o644); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(i.state, 0o700); err != nil {
		return err
	}
	if err := protect(ctx, t, i.state); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "installed %s\nnext: edit %s; sallyport-agent register --config %s --token-file token.txt; sallyport-agent service start\n", serviceName, i.config, i.config)
	return err
}

func (i installation) uninstall(_ context.Context, t *terminal) error {
	s, err := i.handle()
	if err != nil {
		return err
	}
	_ = s.Stop() // it may not run
	if err := s.Uninstall(); err != nil {
		return fmt.Errorf("service: %w", err)
	}
	_, err = fmt.Fprintf(t.out, "removed %s\nkept: %s (keys and certificate) and %s; revoke the agent in the service before you delete them\n", serviceName, i.state, i.config)
	return err
}

func controlService(_ context.Context, t *terminal, verb string) error {
	s, err := installation{program: "", config: defaultConfig, state: defaultState}.handle()
	if err != nil {
		return err
	}
	switch verb {
	case "start":
		err = s.Start()
	case "stop":
		err = s.Stop()
	default:
		var state service.Status
		if state, err = s.Status(); err == nil {
			word := map[service.Status]string{service.StatusRunning: "running", service.StatusStopped: "stopped"}[state]
			if word == "" {
				word = "unknown"
			}
			fmt.Fprintf(t.out, "%s is %s\n", serviceName, word)
			if state != service.StatusRunning {
				return errNotAttached
			}
		}
	}
	if err != nil {
		return fmt.Errorf("service: %w", err)
	}
	return nil
}
