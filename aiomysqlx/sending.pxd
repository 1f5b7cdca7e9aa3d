cimport cython
from .lending cimport Lent
from .loaded cimport Loaded
from .sql.plan cimport Plan, Text
from .sql.planner cimport Known, Planner
from .wire.command cimport Command
from .wire.dialogue cimport Dialogue
from .wire.prepared cimport Statement, Statements, takes, written


cdef class Sending(Lent):
    cdef tuple _send(
        self,
        Dialogue raw,
        Planner planner,
        object query,
        object statement,
        object groups,
        Known known,
        object stream,
    )

    @cython.locals(plan=Plan, text=Text, result=Loaded)
    cdef tuple _command(
        self,
        Dialogue raw,
        Planner planner,
        object query,
        object statement,
        object groups,
        Known known,
        object stream,
        bint prepares,
    )

    cdef tuple _planned(
        self,
        Dialogue raw,
        Planner planner,
        object query,
        object statement,
        object parameters,
        Known known,
    )

    @cython.locals(
        statements=Statements, statement=Statement, values=list, command=Command, packet=bytes
    )
    cdef object _send_prepared(
        self,
        Dialogue raw,
        Plan plan,
        Text text,
        object parameters,
        object extracted,
        Loaded result,
        object observed,
    )
    cdef Dialogue _usable(self)
    cdef Planner _planner_for(self, Dialogue raw)
    cpdef Planner _choose_planner(self, object raw)
