; The 16-bit side of real_mode.c. go_real leaves protected mode for the copy of real_code at 0x10000 (segment 0x1000) and
; comes back. Results go to the table at 0x8000, whose layout is struct Results.
global go_real, real_code, real_code_end
extern gdt

%define at(label) ((label) - real_code)
RESULTS equ 0x8000
%assign offset 0
%macro result 2                 ; name, bytes
%1 equ RESULTS + offset
%assign offset offset + %2
%endmacro
result int_vector, 2
result int_flags_inside, 2
result int_flags_after, 2
result int_sp, 2
result divide_ip, 2
result int3_ip, 2
result into_ip, 2
result undefined_ip, 2
result steps, 2
result step_flags, 2
result ticks, 2
result moved, 2
result wrapped_word, 2
result segment_wrap, 2
result stack_wrap, 2
result far_call, 2
result wide, 4
result unreal_low, 4
result unreal_high, 4
result unreal_far, 4
result string_sum, 2
result loop_count, 2
result bound_hit, 2
result iret_flags, 2
result p16_sp, 2
result p16_int, 2
result p16_base, 2
result p16_error, 2
result p16_cs, 2
result p16_call, 2
result smsw_value, 2
result push_sp, 2
result p16_eip, 4

section .text
bits 32
go_real:
    pushad
    pushfd
    mov [0x10000 + at(saved_esp)], esp
    sgdt [0x10000 + at(saved_gdt)]
    lgdt [0x10000 + at(gdt16.pointer)]
    jmp 0x18:at(to_real)        ; 16-bit code with base 0x10000
come_back:                      ; 32-bit flat code again
    mov ax, 0x28
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, [0x10000 + at(saved_esp)]
    lgdt [0x10000 + at(saved_gdt)]
    popfd
    popad
    ret

section .rodata
bits 16
real_code:
    dw at(real), at(do_divide.at), at(do_int3.behind), at(do_into.behind), at(do_undefined.at), at(p16_fault)
saved_esp:
    dd 0
saved_gdt:
    dw 0
    dd 0
align 8
gdt16:
    dq 0
    dq 0x00009b010000ffff       ; 08: 16-bit code, base 0x10000
    dq 0x0000930000000fff       ; 10: 16-bit data, base 0, limit fff: the stack and small data
    dq 0x00009b010000ffff       ; 18: the same code, to leave by
    dq 0x000093000000ffff       ; 20: real mode's data segment
    dq 0x00cf93000000ffff       ; 28: flat data
    dq 0x00cf9b000000ffff       ; 30: flat code
    dq 0x000093020000ffff       ; 38: data, base 0x20000
    dw at(p16_called), 0x08, 0x8400, 0  ; 40: 286 call gate
.pointer:
    dw $ - gdt16 - 1
    dd 0x10000 + at(gdt16)
idt16:
    times 13 dq 0
    dw at(p16_gp), 0x08, 0x8600, 0      ; vector 13: 286 interrupt gate
    times 0x33 - 14 dq 0
    dw at(p16_int33), 0x08, 0x8600, 0
.pointer:
    dw $ - idt16 - 1
    dd 0x10000 + at(idt16)
real_idt:
    dw 0x3ff
    dd 0
moved_idt:
    dw 0x3ff
    dd 0x9000

to_real:
    mov ax, 0x20                ; 64 KiB limits, as real mode expects
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    jmp 0x1000:at(real)

%macro vector 2                 ; number, handler; ES = 0
    mov word [es:%1 * 4], at(%2)
    mov word [es:%1 * 4 + 2], 0x1000
%endmacro

real:
    lidt [cs:at(real_idt)]
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ax, 0x2000
    mov ss, ax
    mov sp, 0x1000
    vector 0, on_divide
    vector 1, on_step
    vector 3, on_int3
    vector 4, on_into
    vector 5, on_bound
    vector 6, on_undefined
    vector 8, on_tick
    vector 0x42, on_42

    ; INT n, flags and stack
    sti
    stc
    int 0x42
    pushf
    pop word [int_flags_after]
    cli

    ; exceptions
do_divide:
    xor bl, bl
    mov ax, 1
.at:
    div bl
    nop
do_int3:
    int3
.behind:
    mov al, 0x7f
    add al, 1
do_into:
    into
.behind:
    mov word [0x8f00], 1
    mov word [0x8f02], 5
    mov ax, 9
    bound ax, [0x8f00]
do_undefined:
.at:
    ud2

    ; single step: TF set by POPF, the next five instructions trap, POPF clears it
    pushf
    pop ax
    mov bx, ax
    or ax, 0x100
    push bx
    push ax
    popf
    nop
    nop
    inc cx
    nop
    popf
    nop

    ; timer at vector 8, as the PC's BIOS has it
    mov al, 0x11
    out 0x20, al
    mov al, 8
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34
    out 0x43, al
    mov ax, 1193
    out 0x40, al
    mov al, ah
    out 0x40, al
.wait:
    sti
    hlt
    cmp word [ticks], 3
    jb .wait
    cli
    mov al, 0xff
    out 0x21, al
    mov al, 0x11                ; back to vectors 0x20
    out 0x20, al
    mov al, 0x20
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xff
    out 0x21, al

    ; another IVT
    mov word [0x9000 + 0x43 * 4], at(on_moved)
    mov word [0x9000 + 0x43 * 4 + 2], 0x1000
    lidt [cs:at(moved_idt)]
    int 0x43
    lidt [cs:at(real_idt)]

    ; wrap-around: effective addresses are computed modulo 64 KiB
    mov ax, 0x3000
    mov fs, ax
    mov byte [fs:0xffff], 0x11
    mov byte [fs:0x0010], 0xaa
    mov byte [fs:0x0011], 0xbb
    mov bx, 0xfff0
    mov ax, [fs:bx + 0x20]      ; fs:0010
    mov [wrapped_word], ax
    mov ax, 0xffff
    mov fs, ax
    mov byte [fs:0x8010], 0x5a  ; linear 0x108000
    mov eax, 0
    mov al, [fs:0x8010]
    mov [segment_wrap], ax
    mov cx, sp
    xor sp, sp
    push ax
    mov [stack_wrap], sp
    mov sp, cx
    push sp
    pop ax
    sub ax, sp
    mov [push_sp], ax
    call 0x1000:at(far_function)
    mov [far_call], ax
    mov eax, 0xdeadbeee
    inc eax
    mov [wide], eax

    ; strings and loops use 16-bit counts and indexes
    mov si, 0xa000
    mov di, 0xb000
    mov cx, 0x100
    xor ax, ax
.fill:
    mov byte [si], 1
    inc si
    loop .fill
    mov esi, 0x5555a000
    mov edi, 0x5555b000
    mov ecx, 0x77770100
    cld
    rep movsb
    mov di, 0xb000
    mov cx, 0x100
.sum:
    add al, [di]
    adc ah, 0
    inc di
    loop .sum
    mov [string_sum], ax
    mov cx, 300
    xor ax, ax
.count:
    inc ax
    loop .count
    mov [loop_count], ax

    ; real mode may write every flag that exists, IOPL and NT too
    push 0x4ed5
    popf
    pushf
    pop ax
    mov [iret_flags], ax
    push 2
    popf

    ; unreal mode: load a 4 GiB descriptor in protected mode, go back, keep the limit
    lgdt [cs:at(gdt16.pointer)]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp $ + 2
    mov bx, 0x28
    mov fs, bx
    and al, 0xfe
    mov cr0, eax
    jmp $ + 2
    xor bx, bx
    mov ds, bx
    mov ebx, 0x300000
    mov eax, [fs:ebx]
    mov [unreal_low], eax
    mov dword [fs:ebx + 4], 0x12345678
    int 0x42
    mov eax, [fs:ebx + 4]
    mov [unreal_high], eax
    mov eax, [fs:ebx]
    mov [unreal_far], eax

    ; 16-bit protected mode
    mov ax, 0x2000
    mov es, ax
    mov word [es:0x40], 0xabcd
    lidt [cs:at(idt16.pointer)]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 0x08:at(.protected)
.protected:
    mov ax, 0x20
    mov ds, ax
    mov ax, 0x38
    mov es, ax
    mov ss, ax
    mov sp, 0x1000
    push ax
    mov [p16_sp], sp
    pop ax
    mov ax, [es:0x40]
    mov [p16_base], ax
    mov [p16_cs], cs
    smsw [smsw_value]
    int 0x33
    mov ax, 0x400
p16_fault:
    mov es, ax                  ; behind the GDT: the handler steps over it
    call 0x40:0
    mov [p16_call], ax

    ; home
    jmp dword 0x30:come_back

far_function:
    mov ax, 0x1234
    retf

on_42:
    mov word [int_vector], 0x42
    pushf
    pop word [int_flags_inside]
    push bp
    mov bp, sp
    mov ax, 0x1000 - 2
    sub ax, bp
    mov [int_sp], ax
    pop bp
    iret

; Faults: note the pushed IP, step over the two-byte instruction.
%macro note_ip 2                ; name, bytes to step over
    push bp
    mov bp, sp
    mov ax, [bp + 2]
    mov [%1], ax
    add word [bp + 2], %2
    pop bp
    iret
%endmacro
on_divide:
    note_ip divide_ip, 2
on_int3:
    note_ip int3_ip, 0
on_into:
    note_ip into_ip, 0
on_undefined:
    note_ip undefined_ip, 2
on_bound:
    inc word [bound_hit]
    push bp
    mov bp, sp
    add word [bp + 2], 4
    pop bp
    iret
on_step:
    inc word [steps]
    push bp
    mov bp, sp
    mov ax, [bp + 6]
    or [step_flags], ax
    pop bp
    iret
on_tick:
    inc word [ticks]
    push ax
    mov al, 0x20
    out 0x20, al
    pop ax
    iret
on_moved:
    mov word [moved], 0x77
    iret

p16_int33:
    mov word [p16_int], 0x33
    iret
p16_gp:                         ; error code, IP, CS, FLAGS: words
    pop word [p16_error]
    push bp
    mov bp, sp
    movzx eax, word [bp + 2]
    mov [p16_eip], eax
    add word [bp + 2], 2
    pop bp
    iret
p16_called:
    mov ax, 0x99
    retf
real_code_end:
