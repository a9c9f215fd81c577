# The routine of program.py for x86-64. See there for the layouts; `routine.py` has it assembled.
#
#   long run(struct header *header)
#
# Position-independent. The child touches no stack: it has that of the caller, who may be waiting in
# the middle of it (CLONE_VM | CLONE_VFORK). System calls preserve all registers but rax, rcx, r11.

    .globl run
run:
    push %rbx
    push %r12
    mov  %rdi, %rbx
    mov  0(%rbx), %rax          # clone3 or clone
    mov  8(%rbx), %rdi
    mov  16(%rbx), %rsi
    mov  24(%rbx), %rdx
    xor  %r10d, %r10d
    xor  %r8d, %r8d
    syscall
    test %rax, %rax
    jz   child
    pop  %r12
    pop  %rbx
    ret

child:
    mov  32(%rbx), %r12         # the first call
next:
    mov  %r12, 40(%rbx)         # where we are
    mov  0(%r12), %rax
    mov  8(%r12), %rdi          # each argument is the address of its value
    mov  (%rdi), %rdi
    mov  16(%r12), %rsi
    mov  (%rsi), %rsi
    mov  24(%r12), %rdx
    mov  (%rdx), %rdx
    mov  32(%r12), %r10
    mov  (%r10), %r10
    mov  40(%r12), %r8
    mov  (%r8), %r8
    mov  48(%r12), %r9
    mov  (%r9), %r9
    syscall
    mov  %rax, 56(%r12)
    cmp  $-4095, %rax           # unsigned: -4095 to -1 are errors
    jae  failed
    mov  64(%r12), %r12
    jmp  next

failed:
    mov  80(%r12), %rdx
    cmp  %rax, %rdx             # this error is expected
    je   expected
    cmp  $1, %rdx               # any is
    je   expected
    mov  $127, %edi
    mov  $231, %eax             # exit_group
    syscall
expected:
    mov  72(%r12), %r12
    jmp  next
