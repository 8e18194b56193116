-- log.duckdb: the engine's own copy of the log. Kept for ever; generations are folded from it.
-- No index and no key: appended in order, read by range; an index costs 10 to 30 % of the write rate.
CREATE TABLE event (
    sequence BIGINT NOT NULL,   -- the stream's
    time_ns  BIGINT NOT NULL,   -- the server's time of the message, as in the leaf
    time_us  BIGINT NOT NULL,   -- the log's time: the server's, made monotone
    subject  TEXT   NOT NULL,
    msg_id   TEXT   NOT NULL,   -- Nats-Msg-Id, '' without one
    payload  BLOB   NOT NULL,
    redacted BOOLEAN NOT NULL   -- erased in part: the row no longer gives its leaf
);
CREATE TABLE leaf (             -- outlives its event: an erased one keeps its leaf
    sequence BIGINT NOT NULL,
    hash     BLOB   NOT NULL
);
CREATE TABLE checkpoint (       -- one row
    sequence  BIGINT  NOT NULL,
    time_us   BIGINT  NOT NULL,
    namespace TEXT    NOT NULL,
    format    INTEGER NOT NULL, -- of this file
    rewrite   INTEGER NOT NULL  -- how often it was written anew, without what was erased
);
CREATE TABLE erased (           -- what is no longer in this file
    erasure  BIGINT  NOT NULL,  -- sequence of its `Erased`
    messages BIGINT  NOT NULL,  -- how many went, as a whole or in part
    events   BIGINT  NOT NULL
);
