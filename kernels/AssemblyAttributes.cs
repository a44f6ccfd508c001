// Working memory on the stack is written before it is read: clearing it would cost more than some of the loops that use it.
[module: System.Runtime.CompilerServices.SkipLocalsInit]
