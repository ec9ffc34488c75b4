; The 16-bit side of v86.c: snippets that begin with the instruction under test, and a program for the monitor. Copied to
; segment 0x1000. The order of the table is that of `enum Entry`.
global v86_code, v86_code_end
section .rodata
bits 16
%define at(label) ((label) - v86_code)
v86_code:
    dw at(do_cli), at(do_sti), at(do_pushf), at(do_popf), at(do_iret), at(int_21), at(do_int3), at(do_into)
    dw at(do_in), at(do_out), at(in_word), at(undefined), at(divide), at(do_hlt), at(do_lgdt), at(mov_cr0)
    dw at(segments), at(program), at(spin), at(page_fault), at(int_13), at(do_lmsw)

do_cli:
    cli
    int 0x80
do_sti:
    sti
    int 0x80
do_pushf:
    pushf
    int 0x80
do_popf:
    popf
    int 0x80
do_iret:
    iret
int_21:
    int 0x21
int_13:
    int 0x13
do_int3:
    int3
    int 0x80
do_into:                        ; OF comes from the addition
    mov al, 0x7f
    add al, 1
    into
    int 0x80
do_in:
    in al, 0x21
    int 0x80
do_out:
    out 0x70, al
    nop
    int 0x80
in_word:
    mov dx, 0x70
    in ax, dx
    nop
    nop
    int 0x80
undefined:
    ud2
divide:
    div bl
do_hlt:
    hlt
do_lgdt:
    lgdt [0]
mov_cr0:
    mov eax, cr0
do_lmsw:
    lmsw ax
segments:
    mov bx, es
    mov cx, ds
    mov dx, [0x10]
    mov word [0x20], 0xcafe
    int 0x80
page_fault:
    mov word [0x8000], 0x5678
    int 0x80
spin:
    cmp byte [cs:0xff00], 0
    je spin
    int 0x80

; Installs an INT 21h handler of its own, prints through it, and checks that flags go where they should.
program:
    xor ax, ax
    mov es, ax
    mov word [es:0x21 * 4], at(handler)
    mov [es:0x21 * 4 + 2], cs
    push cs
    pop ds
    mov bp, 0
    cli
    pushf
    pop ax
    test ax, 0x200
    jnz .bad
    sti
    pushf
    pop ax
    test ax, 0x200
    jz .bad
    stc
    mov si, at(text)
.next:
    lodsb
    test al, al
    jz .end
    mov ah, 2
    stc
    int 0x21
    jc .bad                     ; the handler clears CF in the saved flags
    jmp .next
.end:
    cmp bp, at(text.end) - at(text) - 1
    jne .bad
    push 0x0202
    popf
    mov ax, 0x600d
    int 0x80
.bad:
    mov ax, 0xbad
    int 0x80
handler:
    push bp
    mov bp, sp
    and word [bp + 6], 0xfffe
    pop bp
    inc bp
    pushf                       ; IF is clear inside
    pop cx
    test cx, 0x200
    jnz program.bad
    int 0x20
    iret
text:
    db "printed by a V86 task", 0
.end:
v86_code_end:
