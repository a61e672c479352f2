# The assertions of check.h. The format is printf's: cast each value to the type that it names.

cdef extern from "pound/_base/check.h" nogil:
    enum:
        POUND_CHECKS         # 1 under POUND_DEBUG=1: expensive checks run
    void CHECK(bint condition, const char *format, ...) noexcept
