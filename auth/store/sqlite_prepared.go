package store

import (
	"context"
	"database/sql/driver"
	"fmt"
)

// mostPrepared bounds what one connection keeps; lists ask in a few dozen ways.
const mostPrepared = 64

// A preparing connector keeps the statements of each connection prepared:
// parsing would otherwise cost as much as all the rest of a sign-in. (A
// sql.Stmt of the pool would do it too, were every text known beforehand.)
type preparing struct{ driver.Connector }

// sqliteConn is what database/sql may use of a connection. The methods that run
// a text without preparing it are left out on purpose.
type sqliteConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.SessionResetter
	driver.Validator
}

type sqliteStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

func (p preparing) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	plain, ok := c.(sqliteConn)
	if !ok {
		return nil, fmt.Errorf("connect: %T lacks a method", c)
	}
	return &preparedConn{sqliteConn: plain, idle: make(map[string]sqliteStmt)}, nil
}

// A preparedConn is used by one goroutine at a time, as every driver.Conn.
type preparedConn struct {
	sqliteConn
	idle map[string]sqliteStmt
}

func (c *preparedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stmt, found := c.idle[query]
	if found {
		delete(c.idle, query) // in use until its Close
		return &preparedStmt{stmt, c, query}, nil
	}
	s, err := c.sqliteConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	stmt, ok := s.(sqliteStmt)
	if !ok {
		return nil, fmt.Errorf("prepare: %T lacks a method", s)
	}
	return &preparedStmt{stmt, c, query}, nil
}

func (c *preparedConn) Close() error {
	for _, stmt := range c.idle {
		_ = stmt.Close()
	}
	clear(c.idle)
	return c.sqliteConn.Close()
}

type preparedStmt struct {
	sqliteStmt
	conn  *preparedConn
	query string
}

// Close keeps the statement, which the driver has reset, for the next time.
func (s *preparedStmt) Close() error {
	if _, twice := s.conn.idle[s.query]; twice || len(s.conn.idle) >= mostPrepared {
		return s.sqliteStmt.Close()
	}
	s.conn.idle[s.query] = s.sqliteStmt
	return nil
}
