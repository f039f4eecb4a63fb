-- Whether somebody has an open session is asked of thousands for one page of a list.
CREATE INDEX sessions_open ON sessions (user_id, expires, last_seen) WHERE ended_at = 0;
-- A list by address is walked in this index alone.
DROP INDEX users_email;
CREATE INDEX users_email ON users (email, id);
-- Who was turned away is counted without the trail itself; sign-ins do not write it.
CREATE INDEX events_denied ON events (kind, at, email, detail) WHERE kind = 'denied';
