"""The foreign dialects: what a message says, and the frames put before a body.

The order of recognition matters and is the same everywhere in this file: PND, then MDP without a
delimiter, then MDP behind an envelope, then the peers that carry no name of their protocol and
are distinguished by the socket that they came in on. One exception: on the backend what begins with
an address frame of ours is a PPP answer whatever follows; else a client could write a body that an
echoing PPP worker would return as an MDP command.

An address that is a token says whose answer it is, so an answer may lack the empty frame after it
(the Guide's PHP worker leaves it out), and one of a bad form still says which task it ends.
"""

from libc.string cimport memcmp, memset

from .packets cimport SERVICE_BYTES_MAX

cdef enum:
    MDP_FRAME_SIZE = 6       # "MDPC01" and its three siblings
    MDP_UNKNOWN = 255        # a version, of an MDP name that is not ours

cdef enum mdp_command_t:     # the one-byte commands; MDP 0.1 and 0.2 agree on the first two
    MDP_READY = 1            # worker
    MDP_REQUEST = 2          # broker to worker
    MDP1_REPLY = 3
    MDP1_HEARTBEAT = 4
    MDP1_DISCONNECT = 5
    MDP2_PARTIAL = 3
    MDP2_FINAL = 4
    MDP2_HEARTBEAT = 5
    MDP2_DISCONNECT = 6
    MDP2_CLIENT_REQUEST = 1
    MDP2_CLIENT_PARTIAL = 2
    MDP2_CLIENT_FINAL = 3
    # majortomo (on PyPI) has one set of numbers for both sides, the worker's, and no service frame
    # in what a client gets.
    MDP2_WORKER_NUMBERS = 2  # its client's request


# --- reading -------------------------------------------------------------------------------

cdef inline bint is_word(const frame_t *frame, const char *word, size_t size) noexcept nogil:
    return frame.size == size and memcmp(frame.data, word, size) == 0


cdef inline bint is_packet(const frame_t *frame) noexcept nogil:
    return frame.size >= 3 and memcmp(frame.data, b"PND", 3) == 0


cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return c"0" <= byte <= c"9"


# mdp_version returns 1 or 2 for an MDP protocol frame, MDP_UNKNOWN for one of another version,
# else 0.
cdef inline uint8_t mdp_version(const frame_t *frame) noexcept nogil:
    cdef const uint8_t *name = frame.data
    if frame.size != MDP_FRAME_SIZE or memcmp(name, b"MDP", 3) != 0:
        return 0
    if (name[3] != c"C" and name[3] != c"W") or not is_digit(name[4]) or not is_digit(name[5]):
        return 0
    if name[4] == c"0" and (name[5] == c"1" or name[5] == c"2"):
        return <uint8_t>(name[5] - c"0")
    return MDP_UNKNOWN


# first_empty returns the index of the first empty frame, or `n`.
cdef inline uint32_t first_empty(const frame_t *frames, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if frames[i].size == 0:
            return i
    return n


# hex_value returns the value of a hex digit, 16 or more for anything else.
cdef inline uint32_t hex_value(uint8_t digit) noexcept nogil:
    cdef uint32_t decimal = <uint32_t>digit - c"0"
    cdef uint32_t letter = <uint32_t>(digit | 0x20) - c"a"
    if decimal < 10:
        return decimal
    return letter + 10 if letter < 6 else 16


# read_token reads an address frame: 1 and *token if it is 16..32 hex digits that make 64 bits.
cdef bint read_token(const frame_t *frame, uint64_t *token) noexcept nogil:
    cdef uint64_t value = 0
    cdef uint32_t digit
    cdef size_t i
    if frame.size < TOKEN_DIGITS or frame.size > TOKEN_DIGITS_MAX:
        return False
    for i in range(frame.size):
        digit = hex_value(frame.data[i])
        if digit > 15 or value >> 60:
            return False
        value = value << 4 | digit
    token[0] = value
    return True


cdef inline int bad(message_t *out, uint8_t error) noexcept nogil:
    out.said = SAID_BAD
    out.error = error
    return SAID_BAD


cdef inline int said(message_t *out, uint8_t what) noexcept nogil:
    out.said = what
    return what


# read_service takes over the name in frame `i`: 1, or 0 if its size is wrong.
cdef inline bint read_service(const frame_t *frames, uint32_t i, message_t *out) noexcept nogil:
    if frames[i].size < 1 or frames[i].size > SERVICE_BYTES_MAX:
        return False
    out.service = frames[i].data
    out.service_size = <uint32_t>frames[i].size
    return True


# read_answer reads [.., address, "", body..] whose address is frame `i`, for ANSWER and PARTIAL.
# The empty frame may be missing where the address is a token.
cdef int read_answer(
    const frame_t *frames, uint32_t n, uint32_t i, uint32_t parts_min, uint8_t what, message_t *out
) noexcept nogil:
    cdef uint32_t body = i + 1
    if n <= i:
        return bad(out, BAD_FRAMES)
    out.token_sound = read_token(&frames[i], &out.token)
    if n > body and frames[body].size == 0:
        body += 1
    elif not out.token_sound:
        return bad(out, BAD_EMPTY if n > body else BAD_FRAMES)
    if n < body + parts_min:
        return bad(out, BAD_FRAMES)
    out.body = body
    out.parts = n - body
    return said(out, what)


# read_mdp_client reads a client's message whose protocol frame is frame `i`. A body is not asked
# for here: some of the broker's own services take requests without one.
cdef int read_mdp_client(
    const frame_t *frames, uint32_t n, uint32_t i, message_t *out
) noexcept nogil:
    cdef uint32_t service = i + 1
    out.envelope = i
    if out.dialect == DIALECT_MDP2:
        service = i + 2
        if n < service:
            return bad(out, BAD_FRAMES)
        if is_word(&frames[i + 1], b"\x03", 1):
            return bad(out, BAD_ROLE)
        out.worker_numbers = is_word(&frames[i + 1], b"\x02", 1)
        if not out.worker_numbers and not is_word(&frames[i + 1], b"\x01", 1):
            return bad(out, BAD_COMMAND)
    if n < service + 1:
        return bad(out, BAD_FRAMES)
    if not read_service(frames, service, out):
        return bad(out, BAD_SERVICE)
    out.body = service + 1
    out.parts = n - out.body
    return said(out, SAID_REQUEST)


# mdp_said returns what a worker's command says, SAID_REQUEST for the broker's own, SAID_BAD: none.
cdef inline uint8_t mdp_said(uint8_t dialect, uint8_t command) noexcept nogil:
    if command == MDP_READY:
        return SAID_READY
    elif command == MDP_REQUEST:
        return SAID_REQUEST
    if dialect == DIALECT_MDP2:
        if command == MDP2_PARTIAL:
            return SAID_PARTIAL
        command -= 1  # from here on 0.2 counts one further than 0.1
    if command == MDP1_REPLY:
        return SAID_ANSWER
    elif command == MDP1_HEARTBEAT:
        return SAID_HEARTBEAT
    return SAID_DISCONNECT if command == MDP1_DISCONNECT else SAID_BAD


# read_mdp_worker reads a worker's message whose protocol frame is frame `i`.
cdef int read_mdp_worker(
    const frame_t *frames, uint32_t n, uint32_t i, message_t *out
) noexcept nogil:
    cdef uint8_t what
    out.worker = True
    if i > 1:
        return bad(out, BAD_ADDRESS)
    if n < i + 2:
        return bad(out, BAD_FRAMES)
    if frames[i + 1].size != 1:
        return bad(out, BAD_COMMAND)
    what = mdp_said(out.dialect, frames[i + 1].data[0])
    if what == SAID_BAD:
        return bad(out, BAD_COMMAND)
    elif what == SAID_REQUEST:
        return bad(out, BAD_ROLE)
    elif what == SAID_ANSWER or what == SAID_PARTIAL:
        return read_answer(frames, n, i + 2, 0, what, out)
    if n != i + (3 if what == SAID_READY else 2):
        return bad(out, BAD_FRAMES)
    if what == SAID_READY and not read_service(frames, i + 2, out):
        return bad(out, BAD_SERVICE)
    return said(out, what)


# read_mdp reads a message whose protocol frame, of `version`, is frame `i`.
cdef int read_mdp(
    const frame_t *frames, uint32_t n, uint32_t i, uint8_t version, message_t *out
) noexcept nogil:
    cdef bint worker = frames[i].data[3] == c"W"
    out.delimited = i > 0
    if version == MDP_UNKNOWN:
        out.service = frames[i].data
        out.service_size = MDP_FRAME_SIZE
        bad(out, BAD_VERSION)
    else:
        out.dialect = DIALECT_MDP1 if version == 1 else DIALECT_MDP2
        if worker:
            read_mdp_worker(frames, n, i, out)
        else:
            read_mdp_client(frames, n, i, out)
    if worker and out.said == SAID_BAD and n > i + 2 and not is_word(&frames[i + 1], b"\x01", 1):
        out.token_sound = read_token(&frames[i + 2], &out.token)  # whatever it was to say of a task
    return out.said


# read_signal reads the one frame of a PPP worker that is not an answer.
cdef int read_signal(const frame_t *frame, message_t *out) noexcept nogil:
    out.dialect = DIALECT_PPP
    out.text = frame.size > 1
    if is_word(frame, b"\x01", 1) or is_word(frame, b"READY", 5):
        return said(out, SAID_READY)
    if is_word(frame, b"\x02", 1) or is_word(frame, b"HEARTBEAT", 9):
        return said(out, SAID_HEARTBEAT)
    out.dialect = DIALECT_NONE
    return bad(out, BAD_COMMAND if frame.size else BAD_FRAMES)


# read_worker reads a message of a plain or PPP worker.
cdef int read_worker(const frame_t *frames, uint32_t n, message_t *out) noexcept nogil:
    cdef uint64_t token
    if n == 1 and not read_token(frames, &token):
        return read_signal(frames, out)
    if frames[0].size != 0:
        out.dialect = DIALECT_PPP
        return read_answer(frames, n, 0, 1, SAID_ANSWER, out)
    out.dialect = DIALECT_PLAIN
    if n > 2 or read_token(&frames[1], &token):
        return read_answer(frames, n, 1, 1, SAID_ANSWER, out)
    if is_word(&frames[1], b"READY", 5) or is_word(&frames[1], b"\x01", 1):
        return said(out, SAID_READY)
    return bad(out, BAD_COMMAND)


# read_client reads a message of a plain client, whose first empty frame is frame `empty` (n: none).
cdef int read_client(uint32_t n, uint32_t empty, message_t *out) noexcept nogil:
    out.dialect = DIALECT_BARE
    if empty < n:
        out.dialect = DIALECT_PLAIN
        out.envelope = empty + 1
    out.body = out.envelope
    out.parts = n - out.body
    return said(out, SAID_REQUEST) if out.parts else bad(out, BAD_FRAMES)


cdef int dialect_read(
    const frame_t *frames, uint32_t n, uint8_t side, message_t *out
) noexcept nogil:
    cdef uint32_t empty
    cdef uint8_t version
    cdef uint64_t token
    memset(out, 0, sizeof(message_t))
    if n == 0:
        return bad(out, BAD_FRAMES)
    if is_packet(frames):
        out.dialect = DIALECT_PND
        return said(out, SAID_PACKET)
    version = mdp_version(frames)
    if version:
        return read_mdp(frames, n, 0, version, out)
    empty = first_empty(frames, n)
    if side == BACKEND and read_token(frames, &token):
        return read_worker(frames, n, out)
    if empty + 1 < n:
        version = mdp_version(&frames[empty + 1])
        if version:
            return read_mdp(frames, n, empty + 1, version, out)
    if side == BACKEND:
        return read_worker(frames, n, out)
    return read_client(n, empty, out)


cdef const char *bad_text(int error) noexcept nogil:
    if error == BAD_FRAMES:
        return b"wrong number of frames"
    elif error == BAD_EMPTY:
        return b"no empty frame after the address"
    elif error == BAD_COMMAND:
        return b"no such command"
    elif error == BAD_ADDRESS:
        return b"an envelope before a worker's command"
    elif error == BAD_SERVICE:
        return b"a service name has 1..255 bytes"
    elif error == BAD_ROLE:
        return b"a command that only the broker sends"
    elif error == BAD_VERSION:
        return b"unknown MDP version"
    return b"none"


# --- heads ---------------------------------------------------------------------------------

cdef inline uint32_t put(frame_t *out, uint32_t n, const void *data, size_t size) noexcept nogil:
    out[n].data = <const uint8_t *>data
    out[n].size = size
    return n + 1


# write_token writes the token as 16 lower-case hex digits.
cdef inline void write_token(uint8_t *hex16, uint64_t token) noexcept nogil:
    cdef const char *digits = b"0123456789abcdef"
    cdef int i
    for i in range(TOKEN_DIGITS):
        hex16[i] = digits[token >> (60 - 4 * i) & 15]


# put_address adds the token's address frame and the empty frame after it.
cdef inline uint32_t put_address(
    frame_t *out, uint32_t n, uint8_t *hex16, uint64_t token
) noexcept nogil:
    write_token(hex16, token)
    n = put(out, n, hex16, TOKEN_DIGITS)
    return put(out, n, b"", 0)


# worker_command returns the one-byte command frame that an MDP worker is sent; NULL: there is none.
cdef inline const char *worker_command(uint8_t dialect, uint8_t what) noexcept nogil:
    cdef bint second = dialect == DIALECT_MDP2
    if what == HEAD_TASK:
        return b"\x02"
    elif what == HEAD_HEARTBEAT:
        return b"\x05" if second else b"\x04"
    elif what == HEAD_DISCONNECT:
        return b"\x06" if second else b"\x05"
    return NULL


# mdp_worker_head and mdp_client_head are dialect_head for MDP. A client that has the worker's
# numbers is sent PARTIAL and FINAL of that side, and no service.
cdef uint32_t mdp_worker_head(
    uint8_t dialect, uint8_t what, uint8_t delimited, uint64_t token, uint8_t *hex16, frame_t *out
) noexcept nogil:
    cdef const char *command = worker_command(dialect, what)
    cdef uint32_t n = 0
    if command == NULL:
        return 0
    if delimited:
        n = put(out, n, b"", 0)
    n = put(out, n, b"MDPW01" if dialect == DIALECT_MDP1 else b"MDPW02", MDP_FRAME_SIZE)
    n = put(out, n, command, 1)
    return put_address(out, n, hex16, token) if what == HEAD_TASK else n


cdef uint32_t mdp_client_head(
    uint8_t dialect, uint8_t what, uint8_t worker_numbers, const uint8_t *service,
    uint32_t service_size, frame_t *out
) noexcept nogil:
    cdef uint32_t n
    if dialect == DIALECT_MDP1:
        if what == HEAD_PARTIAL:
            return 0
        n = put(out, 0, b"MDPC01", MDP_FRAME_SIZE)
    else:
        n = put(out, 0, b"MDPC02", MDP_FRAME_SIZE)
        if worker_numbers:
            return put(out, n, b"\x04" if what == HEAD_ANSWER else b"\x03", 1)
        n = put(out, n, b"\x03" if what == HEAD_ANSWER else b"\x02", 1)
    return put(out, n, service, service_size)


# ppp_head is dialect_head for PPP.
cdef uint32_t ppp_head(
    uint8_t what, uint8_t text, uint64_t token, uint8_t *hex16, frame_t *out
) noexcept nogil:
    if what == HEAD_TASK:
        return put_address(out, 0, hex16, token)
    elif what == HEAD_HEARTBEAT:
        return put(out, 0, b"HEARTBEAT" if text else b"\x02", 9 if text else 1)
    return 0


cdef uint32_t dialect_head(
    uint8_t dialect, uint8_t what, uint8_t delimited, uint8_t variant, uint64_t token,
    const uint8_t *service, uint32_t service_size, uint8_t *hex16, frame_t *out,
) noexcept nogil:
    if dialect == DIALECT_PPP:
        return ppp_head(what, variant, token, hex16, out)
    elif dialect == DIALECT_MDP1 or dialect == DIALECT_MDP2:
        if what == HEAD_ANSWER or what == HEAD_PARTIAL:
            return mdp_client_head(dialect, what, variant, service, service_size, out)
        return mdp_worker_head(dialect, what, delimited, token, hex16, out)
    elif dialect == DIALECT_PLAIN and what == HEAD_TASK:
        return put_address(out, put(out, 0, b"", 0), hex16, token)
    return 0
