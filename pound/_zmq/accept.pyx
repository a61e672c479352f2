"""accept() for libzmq (rules: accept.pxd)."""

from .libzmq cimport zmq

cdef extern from *:
    """
    #if defined(__linux__) && defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__))

    #include <errno.h>
    #include <link.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/socket.h>
    #include <unistd.h>

    #if defined(__x86_64__)
    #define POUND_IS_SLOT(type) ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT)
    #else
    #define POUND_IS_SLOT(type) ((type) == R_AARCH64_JUMP_SLOT || (type) == R_AARCH64_GLOB_DAT)
    #endif

    static int pound_fewer(int fd) {
        if (fd < 0 && errno == EMFILE) {
            errno = ENFILE;
        }
        return fd;
    }

    static int pound_accept(int fd, struct sockaddr *peer, socklen_t *size) {
        return pound_fewer(accept(fd, peer, size));
    }

    static int pound_accept4(int fd, struct sockaddr *peer, socklen_t *size, int flags) {
        return pound_fewer(accept4(fd, peer, size, flags));
    }

    typedef struct pound_library_t {
        uintptr_t inside; /* an address in it */
        int replaced;
    } pound_library_t;

    /* pound_replace writes one entry of the table; the loader may have made it read-only. */
    static int pound_replace(uintptr_t at, void *function) {
        uintptr_t page = at & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
        if (mprotect((void *)page, at + sizeof(void *) - page, PROT_READ | PROT_WRITE)) {
            return 0;
        }
        __atomic_store_n((void **)at, function, __ATOMIC_RELAXED);
        return 1;
    }

    static void pound_relocations(
        pound_library_t *library, uintptr_t base, const ElfW(Rela) *at, size_t size,
        const ElfW(Sym) *symbols, const char *names) {
        for (size_t i = 0; i < size / sizeof(*at); i++) {
            const char *name = names + symbols[ELF64_R_SYM(at[i].r_info)].st_name;
            if (!POUND_IS_SLOT(ELF64_R_TYPE(at[i].r_info))) {
                continue;
            }
            if (strcmp(name, "accept") == 0) {
                library->replaced += pound_replace(base + at[i].r_offset, (void *)pound_accept);
            } else if (strcmp(name, "accept4") == 0) {
                library->replaced += pound_replace(base + at[i].r_offset, (void *)pound_accept4);
            }
        }
    }

    static int pound_look(struct dl_phdr_info *info, size_t size, void *data) {
        pound_library_t *library = data;
        const ElfW(Dyn) *dynamic = NULL;
        const ElfW(Sym) *symbols = NULL;
        const char *names = NULL;
        const ElfW(Rela) *tables[2] = {NULL, NULL};
        size_t sizes[2] = {0, 0};
        int found = 0;
        (void)size;
        if (info->dlpi_name == NULL || info->dlpi_name[0] == 0) {
            return 0; /* the program itself: its accept is not libzmq's alone */
        }
        for (int i = 0; i < info->dlpi_phnum; i++) {
            const ElfW(Phdr) *part = &info->dlpi_phdr[i];
            uintptr_t at = info->dlpi_addr + part->p_vaddr;
            if (part->p_type == PT_LOAD && library->inside - at < part->p_memsz) {
                found = 1;
            } else if (part->p_type == PT_DYNAMIC) {
                dynamic = (const ElfW(Dyn) *)at;
            }
        }
        if (!found || dynamic == NULL) {
            return 0;
        }
        for (; dynamic->d_tag != DT_NULL; dynamic++) {
            uintptr_t at = dynamic->d_un.d_ptr;
            switch (dynamic->d_tag) {
            case DT_SYMTAB: symbols = (const ElfW(Sym) *)at; break;
            case DT_STRTAB: names = (const char *)at; break;
            case DT_JMPREL: tables[0] = (const ElfW(Rela) *)at; break;
            case DT_PLTRELSZ: sizes[0] = dynamic->d_un.d_val; break;
            case DT_RELA: tables[1] = (const ElfW(Rela) *)at; break;
            case DT_RELASZ: sizes[1] = dynamic->d_un.d_val; break;
            default: break;
            }
        }
        /* glibc has made these addresses; musl leaves offsets, and then nothing is touched */
        if ((uintptr_t)symbols < info->dlpi_addr || (uintptr_t)names < info->dlpi_addr) {
            return 1;
        }
        for (int i = 0; i < 2; i++) {
            if ((uintptr_t)tables[i] >= info->dlpi_addr && tables[i] != NULL) {
                pound_relocations(library, info->dlpi_addr, tables[i], sizes[i], symbols, names);
            }
        }
        return 1;
    }

    /* accept_mend returns how many references were changed. */
    static int accept_mend(void *function) {
        pound_library_t library = {(uintptr_t)function, 0};
        dl_iterate_phdr(pound_look, &library);
        return library.replaced;
    }

    #else
    static int accept_mend(void *function) { (void)function; return 0; }
    #endif
    """
    int accept_mend(void *function) noexcept nogil


cdef int accept_survives() noexcept nogil:
    return accept_mend(<void *>zmq.socket)
