cimport cython
from ..runtime.timers cimport Timer
from ..runtime.waiter cimport Waiter
from . cimport _packet_cy
from .columns cimport Columns
from .command cimport Command


cdef class ResultSet:
    cdef public Py_ssize_t statements
    cdef public Columns columns
    cdef public object error
    cdef public list rows
    cdef public bint shaped
    cdef public Py_ssize_t position
    cdef public object affected_rows
    cdef public object insert_id
    cdef public object warning_count
    cdef public bytes info

    cpdef object take_error(self)

    @cython.locals(chunk=list)
    cpdef list take(self, object size)  # the user's: as large as it likes
    cpdef list take_tuples(self, object size)
    cpdef list give_all(self)


cdef class Alike:
    cdef public bytes behind
    cdef public bytes coming
    cdef public int status

    cpdef object learn(self, bytes end, bint rows)


cdef class Reply:
    cdef public Alike alike
    cdef public bytes packet
    cdef public int sequence
    cdef public object most_rows
    cdef public Waiter future
    cdef public list results
    cdef public object status
    cdef public object then
    cdef public bint eventful
    cdef public bint several
    cdef public bint left
    cdef public tuple states
    cdef public bint restarted
    cdef public object error
    cdef public bytes infile
    cdef public object refused
    cdef public bint abandoned
    cdef public bint wrote
    cdef public object changes
    cdef public Py_ssize_t stream
    cdef public Py_ssize_t wanted
    cdef public object flow
    cdef public Timer deadline
    cdef public object context
    cdef public ResultSet result
    cdef public tuple _row
    cdef public object _describe
    cdef public object _encoding
    cdef Columns _known
    cdef public object _shape
    cdef int _state
    cdef object _count

    cpdef object expect(self, object changes)

    @cython.locals(known=Columns)
    cpdef bint feed(self, _packet_cy.Reader reader, bint deprecate_eof) except -1
    cdef bint _holds(self) except -1
    cdef bint _begin(self, bytes payload) except -1

    @cython.locals(alike=Alike, status=int, behind=bytes)
    cdef object _take_alike(self, _packet_cy.Reader reader)

    @cython.locals(result=ResultSet)
    cdef object _add(self, Py_ssize_t statements, object rows, object warnings, bytes behind)
    cdef object _take_columns(self, Columns columns, bytes raw=*)
    cdef object _keep(self, object error)

    @cython.locals(columns=Columns, rows=list, start=Py_ssize_t)
    cdef object _read_rows(self, _packet_cy.Reader reader, bint deprecate_eof)
    cdef object _make_rows(self, list rows, Py_ssize_t start)
    cdef bint _end_rows(self, bytes payload, bint deprecate_eof) except -1

    @cython.locals(status=int)
    cdef bint _end_result(self) except -1
    cdef object _take_state(self, bytes info)
    cpdef object _fail(self, bytes payload)
    cpdef object abandon(self)
    cpdef object let_go(self)
    cpdef object finish(self)
