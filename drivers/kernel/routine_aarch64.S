// The routine of program.py for aarch64. See there for the layouts; `routine.py` has it assembled.
//
//   long run(struct header *header)
//
// Position-independent. The child touches no stack: it has that of the caller, who may be waiting in
// the middle of it (CLONE_VM | CLONE_VFORK). System calls preserve all registers but x0.

    .globl run
run:
    mov  x9, x0
    ldp  x8, x0, [x9]           // clone3 or clone
    ldp  x1, x2, [x9, #16]
    mov  x3, #0
    mov  x4, #0
    svc  #0
    cbz  x0, child
    ret

child:
    ldr  x10, [x9, #32]         // the first call
next:
    str  x10, [x9, #40]         // where we are
    ldr  x8, [x10]
    ldp  x0, x1, [x10, #8]      // each argument is the address of its value
    ldp  x2, x3, [x10, #24]
    ldp  x4, x5, [x10, #40]
    ldr  x0, [x0]
    ldr  x1, [x1]
    ldr  x2, [x2]
    ldr  x3, [x3]
    ldr  x4, [x4]
    ldr  x5, [x5]
    svc  #0
    str  x0, [x10, #56]
    cmn  x0, #4095              // carry: -4095 to -1 are errors
    b.hs failed
    ldr  x10, [x10, #64]
    b    next

failed:
    ldr  x11, [x10, #80]
    cmp  x11, x0                // this error is expected
    b.eq expected
    cmp  x11, #1                // any is
    b.eq expected
    mov  x0, #127
    mov  x8, #94                // exit_group
    svc  #0
expected:
    ldr  x10, [x10, #72]
    b    next
