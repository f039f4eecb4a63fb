-- What people are found by: the address, the parts of it and of the name, in lower
-- case. A search asks for words that begin with what was typed, which is a range of
-- an index in any database; BYTEWISE is for engines whose texts are not in the order
-- of their bytes. Users of before are indexed by the program.
CREATE TABLE user_words (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    word    TEXT /* BYTEWISE */ NOT NULL,
    PRIMARY KEY (user_id, word)
);
CREATE INDEX user_words_word ON user_words (word, user_id);
DROP INDEX users_last_seen;
CREATE INDEX users_last_seen ON users (last_seen, id);
