-- A generation: the projection of the log up to its checkpoint. Disposable.
-- [valid_from, valid_to) are sequences; an open row has valid_to = 9223372036854775807.
CREATE TABLE checkpoint (        -- one row, changed in the transaction of the rows it speaks for
    sequence     BIGINT  NOT NULL,
    time_us      BIGINT  NOT NULL,
    namespace    TEXT    NOT NULL,
    fold_version INTEGER NOT NULL,
    format       INTEGER NOT NULL,
    rewrite      INTEGER NOT NULL     -- log.duckdb's, when this was begun: what was erased since is still here
);
CREATE TABLE resource (
    id            TEXT   NOT NULL,
    metadata      TEXT   NOT NULL,
    began         BIGINT NOT NULL,
    began_index   INTEGER NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    revision      BIGINT NOT NULL,
    erased        BIGINT NOT NULL,   -- sequence of its last erasure as a whole, 0 without one
    valid_from    BIGINT NOT NULL,
    valid_to      BIGINT NOT NULL
);
CREATE TABLE thread (            -- key: one incarnation of (resource, id), so a deleted life is never met
    key           INTEGER NOT NULL,
    resource      TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    incarnation   INTEGER NOT NULL,
    live          BOOLEAN NOT NULL,
    explicit      BOOLEAN NOT NULL,
    title         TEXT    NOT NULL,
    metadata      TEXT    NOT NULL,
    began         BIGINT  NOT NULL,
    began_index   INTEGER NOT NULL,
    created_at_us BIGINT  NOT NULL,
    updated_at_us BIGINT  NOT NULL,  -- without its messages: they have their own
    revision      BIGINT  NOT NULL,
    archived_at_us  BIGINT,
    source_resource TEXT,            -- of a clone: the thread it was made from, as of a sequence
    source_thread   TEXT,
    source_sequence BIGINT,
    source_messages INTEGER,
    source_cut      TEXT,
    valid_from    BIGINT  NOT NULL,
    valid_to      BIGINT  NOT NULL
);
CREATE TABLE message (
    thread        INTEGER NOT NULL,  -- thread.key
    id            TEXT    NOT NULL,
    sequence      BIGINT  NOT NULL,  -- position: where it first appeared, kept when it is saved again
    index         INTEGER NOT NULL,
    role          TEXT    NOT NULL,
    content       TEXT    NOT NULL,  -- canonical JSON
    metadata      TEXT    NOT NULL,
    created_at_us BIGINT  NOT NULL,
    updated_at_us BIGINT  NOT NULL,
    valid_from    BIGINT  NOT NULL,
    valid_to      BIGINT  NOT NULL
);
CREATE TABLE working_memory (    -- current state; '' stands for "none" in resource and thread
    key           INTEGER NOT NULL,
    resource      TEXT    NOT NULL,
    thread        TEXT    NOT NULL,
    revision      BIGINT  NOT NULL,
    content       TEXT,              -- canonical JSON; NULL: never written
    format        TEXT,
    changed       BIGINT,
    changed_index INTEGER,
    changed_at_us BIGINT,
    provenance    TEXT,
    size_max      INTEGER,
    steps         INTEGER
);
CREATE TABLE keyframe (
    memory        INTEGER NOT NULL,  -- working_memory.key
    sequence      BIGINT  NOT NULL,
    index         INTEGER NOT NULL,
    content       TEXT,              -- NULL: the thread ended and its memory with it
    format        TEXT,
    changed_at_us BIGINT,
    provenance    TEXT
);
-- One large document is read by it without those beside it.
CREATE INDEX keyframe_sequence ON keyframe (sequence);
CREATE TABLE change (            -- applied to a document: its history, and steps between keyframes
    kind          TINYINT NOT NULL,  -- 0 working memory, 1 thread, 2 resource
    key           BIGINT  NOT NULL,  -- working_memory.key, thread.key or resource.began
    sequence      BIGINT  NOT NULL,
    index         INTEGER NOT NULL,
    time_us       BIGINT  NOT NULL,
    applied       BOOLEAN NOT NULL,  -- of working memories the others too: they move the revision
    whole         BOOLEAN NOT NULL,  -- its content is the whole document: nothing before it counts
    actor         TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    type          TEXT    NOT NULL,
    causation     TEXT,
    correlation   TEXT,
    data          TEXT               -- canonical JSON; NULL of what was not applied
);
CREATE TABLE definition (
    memory        INTEGER NOT NULL,
    kind          TEXT    NOT NULL,
    body          TEXT    NOT NULL,
    valid_from    BIGINT  NOT NULL,
    valid_to      BIGINT  NOT NULL
);
CREATE TABLE outcome (           -- of what was not applied, or has more to say than that
    sequence      BIGINT  NOT NULL,
    index         INTEGER NOT NULL,
    kind          TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    detail        TEXT    NOT NULL,
    of_sequence   BIGINT,
    of_index      INTEGER
);
CREATE TABLE parked (
    sequence      BIGINT  NOT NULL,
    index         INTEGER NOT NULL,
    resource      TEXT    NOT NULL,
    thread        TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    detail        TEXT    NOT NULL,
    time_us       BIGINT  NOT NULL,
    gone_sequence BIGINT,            -- the event that discarded it
    gone_index    INTEGER,
    gone_actor    TEXT,
    gone_reason   TEXT,
    gone_time_us  BIGINT
);
CREATE TABLE seen (              -- a Bloom filter over hash stands in for an index
    hash          UBIGINT NOT NULL,
    source        TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    digest        BLOB    NOT NULL,
    sequence      BIGINT  NOT NULL,
    index         INTEGER NOT NULL
);
CREATE TABLE attachment (        -- which event of a resource names which attachment, folded or not
    resource      TEXT    NOT NULL,  -- as the subject's token: also of what could not be read
    sha256        BLOB    NOT NULL,
    sequence      BIGINT  NOT NULL
);
CREATE TABLE erasure (           -- what was to be erased, whether anything of it was there or not
    sequence      BIGINT  NOT NULL,
    index         INTEGER NOT NULL,
    resource      TEXT    NOT NULL,  -- '' stands for "none", in thread too
    thread        TEXT    NOT NULL,
    target        TEXT    NOT NULL,
    message       TEXT,
    at_sequence   BIGINT,
    at_index      INTEGER,
    actor         TEXT    NOT NULL,
    reason        TEXT,
    time_us       BIGINT  NOT NULL
);
CREATE TABLE completion (        -- which engine has dropped its copies
    erasure       BIGINT  NOT NULL,
    engine        TEXT    NOT NULL,
    stores        TEXT    NOT NULL,  -- canonical JSON
    sequence      BIGINT  NOT NULL,
    time_us       BIGINT  NOT NULL
);
