package storetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/loginwall/loginwall/internal/hygiene"
)

// A Postgres is a PostgreSQL server of our own, from the programs that the
// distribution installed, in a folder that goes with it. It never runs as root.
type Postgres struct {
	bin, dir string
	port     string
	account  *syscall.SysProcAttr
	running  *program
	names    atomic.Int64
}

const (
	// postgresUser may do everything, with a password that needs escaping in a URL.
	postgresUser = "loginwall"
	// PostgresPassword must never be seen in a log.
	PostgresPassword = "p@ss/w?rd%41"
	startPatience    = time.Minute
)

// StartPostgres makes a server and starts it; it ends with the test, however that
// ends. Settings are as in postgresql.conf: fsync is off unless they say otherwise.
func StartPostgres(t testing.TB, settings ...string) *Postgres {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // as Debian has it
	must(t, err)
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		hygiene.Missing(t, "postgresql", "deploy/components.sh")
	}
	p := &Postgres{bin: filepath.Dir(found[len(found)-1]), account: account(t), port: freePort(t)}
	p.dir = folder(t, p.account)
	password := filepath.Join(p.dir, "password")
	must(t, os.WriteFile(password, []byte(PostgresPassword), 0o644)) //nolint:gosec // read by another account
	initdb := exec.Command(filepath.Join(p.bin, "initdb"), "-D", filepath.Join(p.dir, "data"), "-U", postgresUser,
		"--auth=scram-sha-256", "--pwfile="+password, "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
	initdb.SysProcAttr = p.account
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	settings = append([]string{
		"listen_addresses='127.0.0.1'", "port=" + p.port, "unix_socket_directories='" + p.dir + "'",
		"max_connections=200", "fsync=off",
	}, settings...)
	f, err := os.OpenFile(filepath.Join(p.dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(strings.Join(settings, "\n") + "\n")
	must(t, errors.Join(err, f.Close()))
	p.Start(t)
	return p
}

// Start starts a server that was stopped, and waits until it answers.
func (p *Postgres) Start(t testing.TB) {
	t.Helper()
	for began := time.Now(); ; {
		p.running = start(t, p.dir, p.account, filepath.Join(p.bin, "postgres"), "-D", filepath.Join(p.dir, "data"))
		err := p.running.await(t, p.URL("postgres"))
		if err == nil {
			return
		}
		// After a crash it refuses until the last of its old children has ended.
		if !strings.Contains(err.Error(), "is still in use") || time.Since(began) > startPatience {
			t.Fatal(err)
		}
	}
}

// Kill ends the server as a crash does, at once and without a word.
func (p *Postgres) Kill(t testing.TB) {
	t.Helper()
	p.running.end(t, syscall.SIGKILL)
}

// Stop ends the server in order: what is under way is rolled back.
func (p *Postgres) Stop(t testing.TB) {
	t.Helper()
	p.running.end(t, syscall.SIGINT)
}

// Addr is the host and port that the server listens on.
func (p *Postgres) Addr() string { return net.JoinHostPort("127.0.0.1", p.port) }

// Socket is the path of the socket that the server listens on, too.
func (p *Postgres) Socket() string { return filepath.Join(p.dir, ".s.PGSQL."+p.port) }

// URL returns the URL of a database.
func (p *Postgres) URL(database string) string { return urlOf(p.Addr(), database) }

func urlOf(addr, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(postgresUser, PostgresPassword), Host: addr, Path: "/" + database}
	return u.String()
}

// Database makes an empty database for one test, and returns its URL.
func (p *Postgres) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", p.names.Add(1))
	p.Do(t, p.URL("postgres"), "CREATE DATABASE "+name)
	return p.URL(name)
}

// TLS gives the server a certificate for 127.0.0.1, and returns the file of the
// authority that signed it.
func (p *Postgres) TLS(t testing.TB) (authority string) {
	t.Helper()
	authority, ca, signer := issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true}, nil, nil)
	cert, _, key := issue(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, ca, signer)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	chain, err := os.ReadFile(cert)
	must(t, err)
	for name, text := range map[string][]byte{
		"server.crt": chain, "server.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		file := filepath.Join(p.dir, "data", name)
		must(t, os.WriteFile(file, text, 0o600))
		if own := p.account.Credential; own != nil {
			must(t, os.Chown(file, int(own.Uid), int(own.Gid)))
		}
	}
	p.Do(t, p.URL("postgres"), "ALTER SYSTEM SET ssl = on")
	p.Stop(t)
	p.Start(t)
	return authority
}

// OtherAuthority returns the file of an authority that signed nothing.
func OtherAuthority(t testing.TB) string {
	t.Helper()
	file, _, _ := issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true}, nil, nil)
	return file
}

// issue makes a certificate and its file; without a parent it signs itself.
func issue(t testing.TB, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (file string, cert *x509.Certificate, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	if parent == nil {
		parent, signer = template, key
	}
	template.SerialNumber, template.Subject.CommonName = big.NewInt(time.Now().UnixNano()), "loginwall's tests"
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	must(t, err)
	cert, err = x509.ParseCertificate(der)
	must(t, err)
	file = filepath.Join(t.TempDir(), "cert.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return file, cert, key
}

// Do runs statements in a database.
func (p *Postgres) Do(t testing.TB, database string, statements ...string) {
	t.Helper()
	db, err := sql.Open("pgx", database)
	must(t, err)
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Count reads a number from a database.
func (p *Postgres) Count(t testing.TB, database, query string) (n int64) {
	t.Helper()
	db, err := sql.Open("pgx", database)
	must(t, err)
	defer db.Close()
	must(t, db.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

// Bouncer starts PgBouncer in front of the server, in transaction mode as Debian
// ships it, and returns what turns a database's URL into the one behind it.
func (p *Postgres) Bouncer(t testing.TB) (through func(string) string) {
	t.Helper()
	bouncer, err := exec.LookPath("pgbouncer")
	if err != nil {
		hygiene.Missing(t, "pgbouncer", "deploy/components.sh")
	}
	dir, port := folder(t, p.account), freePort(t)
	ini := filepath.Join(dir, "pgbouncer.ini")
	must(t, os.WriteFile(filepath.Join(dir, "users"), fmt.Appendf(nil, "%q %q\n", postgresUser, PostgresPassword), 0o644)) //nolint:gosec // read by another account
	must(t, os.WriteFile(ini, fmt.Appendf(nil, `[databases]
* = host=127.0.0.1 port=%s user=%s password='%s'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s/users
pool_mode = transaction
default_pool_size = 5
max_client_conn = 500
`, p.port, postgresUser, PostgresPassword, port, dir), 0o644)) //nolint:gosec // read by another account
	through = func(of string) string {
		u, err := url.Parse(of)
		must(t, err)
		return urlOf(net.JoinHostPort("127.0.0.1", port), strings.TrimPrefix(u.Path, "/"))
	}
	must(t, start(t, dir, p.account, bouncer, ini).await(t, through(p.URL("postgres"))+"?default_query_exec_mode=exec"))
	return through
}

// account is who runs a server that refuses to be root's.
func account(t testing.TB) *syscall.SysProcAttr {
	t.Helper()
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{Setpgid: true}
	}
	nobody, err := user.Lookup("nobody")
	must(t, err)
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	must(t, err)
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	must(t, err)
	return &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// folder makes one that the server's account owns, with a path short enough for a
// socket. When the test ends, or we are killed, a shell that reads from a pipe of
// ours ends the programs whose ids it finds there, and takes the folder away.
func folder(t testing.TB, account *syscall.SysProcAttr) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "loginwall-postgres-") //nolint:usetesting // that one's path is long, and its parent ours alone
	must(t, err)
	if account.Credential != nil {
		must(t, os.Chown(dir, int(account.Credential.Uid), int(account.Credential.Gid)))
	}
	janitor := exec.Command("/bin/sh", "-c", `cat; for f in "$1"/*.pid; do read -r pid <"$f" && kill -QUIT "$pid"
while kill -0 "$pid"; do sleep 0.1; done; done; rm -rf "$1"`, "sh", dir)
	janitor.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := janitor.StdinPipe()
	must(t, err)
	must(t, janitor.Start())
	t.Cleanup(func() {
		_ = pipe.Close()
		_ = janitor.Wait()
	})
	return dir
}

// freePort returns a port on which a server can listen in a moment. It lies outside the
// range from which connections take their own ports, so that none of them comes in
// between.
func freePort(t testing.TB) string {
	t.Helper()
	for {
		n, err := rand.Int(rand.Reader, big.NewInt(12_000))
		must(t, err)
		port := strconv.FormatInt(20_000+n.Int64(), 10)
		l, err := net.Listen("tcp", "127.0.0.1:"+port) //nolint:noctx // at once
		if err == nil {
			must(t, l.Close())
			return port
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

// A program that runs in a folder, and is ended by its janitor.
type program struct {
	log     string
	process *os.Process
	done    chan struct{}
}

func start(t testing.TB, dir string, account *syscall.SysProcAttr, command ...string) *program {
	t.Helper()
	name := filepath.Base(command[0])
	p := &program{log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = account, dir, log, log
	must(t, cmd.Start())
	p.process = cmd.Process
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	must(t, os.WriteFile(filepath.Join(dir, name+".pid"), fmt.Appendln(nil, cmd.Process.Pid), 0o600))
	return p
}

// end sends a signal and waits for the end.
func (p *program) end(t testing.TB, s syscall.Signal) {
	t.Helper()
	must(t, p.process.Signal(s))
	select {
	case <-p.done:
	case <-time.After(startPatience):
		t.Fatal("a program does not end")
	}
}

// await returns when a connection succeeds.
func (p *program) await(t testing.TB, url string) error {
	t.Helper()
	db, err := sql.Open("pgx", url)
	must(t, err)
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
			continue
		}
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("does not start: %w\n%s", err, log[max(0, len(log)-1000):])
	}
}
