package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is something that is measured, alone on a core of its own.
type process struct {
	cmd *exec.Cmd
	log string
}

// start runs a program on the measured core. What it says goes to a file, as a
// service manager would keep it.
func (b *bench) start(name string, args ...string) (*process, error) {
	p := &process{log: filepath.Join(b.folder, fmt.Sprintf("%s-%d.log", filepath.Base(name), time.Now().UnixNano()))}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = exec.Command("taskset", append([]string{"-c", b.core, name}, args...)...) //nolint:noctx // stop ends it
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	ended := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait() // ended by a signal
	ended.Stop()
	os.Remove(p.log)
}

// awaitOpen waits until somebody listens at address.
func (p *process) awaitOpen(ctx context.Context, address string) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		if p.cmd.Process.Signal(syscall.Signal(0)) != nil {
			break
		}
	}
	said, _ := os.ReadFile(p.log)
	return fmt.Errorf("%s does not listen at %s: %s", p.cmd.Args[3], address, said)
}

// cpu is the processor time of all threads so far. Neither Go nor nginx ends any
// while it serves.
func (p *process) cpu() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		return 0, errors.Join(err, errors.New("read the processor time: no such process, or no schedstat"))
	}
	var sum time.Duration
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			return 0, fmt.Errorf("read the processor time: %w", err)
		}
		onCPU, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(onCPU, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the processor time: %w", err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// memory is the resident size, and the part of it that is not the program's file,
// which the kernel may drop and read again, in MiB.
func (p *process) memory() (all, anonymous float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory: %w", err)
	}
	for name, into := range map[string]*float64{"VmRSS": &all, "RssAnon": &anonymous} {
		m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
		if m == nil {
			return 0, 0, fmt.Errorf("read the memory: no %s", name)
		}
		kib, err := strconv.Atoi(string(m[1]))
		if err != nil {
			return 0, 0, fmt.Errorf("read the memory: %w", err)
		}
		*into = float64(kib) / 1024
	}
	return all, anonymous, nil
}
