package store_test

import (
	"errors"
	"testing"

	"github.com/loginwall/loginwall/auth/store"
)

func TestMigrate(t *testing.T) {
	const first, second = "CREATE TABLE a (id SERIAL_KEY, x TEXT); INSERT INTO a (x) VALUES ('old');", "ALTER TABLE a ADD COLUMN y TEXT NOT NULL DEFAULT 'new'"
	db := raw(t, newPath(t))
	migrate := func(files map[string]string) error { return store.Migrate(t.Context(), db, files) }
	if err := migrate(map[string]string{"0001_a.sql": first}); err != nil {
		t.Fatal(err)
	}
	// What fails in the middle leaves the old schema whole.
	if err := migrate(map[string]string{"0001_a.sql": first, "0002_b.sql": second + "; CREATE NONSENSE"}); err == nil {
		t.Fatal("took nonsense")
	}
	var x, y string
	if err := db.QueryRowContext(t.Context(), "SELECT y FROM a").Scan(&y); err == nil {
		t.Error("half a migration was kept")
	}
	for range 2 { // the second time there is nothing to do
		if err := migrate(map[string]string{"0001_a.sql": first, "0002_b.sql": second}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.QueryRowContext(t.Context(), "SELECT x, y FROM a").Scan(&x, &y); err != nil || x != "old" || y != "new" {
		t.Errorf("row = %q, %q, %v", x, y, err)
	}
	if err := migrate(map[string]string{"0001_a.sql": first}); !errors.Is(err, store.ErrTooNew) {
		t.Errorf("older program: %v", err)
	}
	for _, name := range []string{"0002_a.sql", "1_a.sql", "0001a.sql"} {
		if err := migrate(map[string]string{name: first}); err == nil {
			t.Errorf("took a first migration called %s", name)
		}
	}
}
