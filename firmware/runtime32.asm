; Entry and trap stubs of the 32-bit guests; see runtime.h.
; On entry (multiboot 1, 3.2): flat 32-bit segments, paging off, A20 on, EFLAGS.IF clear, no stack, no usable IDT.
bits 32
extern runtime_main, trap_dispatch, boot_information
global _start, kernel_stack, trap_stubs, load_segments, save_point, jump_back, enter_user

section .multiboot
align 4
    dd 0x1badb002, 0, -0x1badb002

section .text
_start:
    cli
    cld
    mov esp, kernel_stack.end
    mov [boot_information], ebx
    mov eax, 0x31               ; PE, ET, NE
    mov cr0, eax
    xor eax, eax
    mov cr4, eax
    fninit
    push 2
    popfd
    call runtime_main

load_segments:
    jmp 0x08:.flush
.flush:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    ret

; int save_point(struct Jump*, void (*code)(void))
save_point:
    mov ecx, [esp + 4]
    mov edx, [esp + 8]
    push ebx
    push esi
    push edi
    push ebp
    mov [ecx], esp
    call edx
    xor eax, eax
.out:
    pop ebp
    pop edi
    pop esi
    pop ebx
    ret

; void jump_back(struct Jump*)
jump_back:
    mov ecx, [esp + 4]
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov esp, [ecx]
    mov eax, 1
    jmp save_point.out

; void enter_user(ip, sp, cs, ss, flags)
enter_user:
    mov eax, [esp + 4]
    mov ecx, [esp + 8]
    mov edx, [esp + 12]
    mov ebx, [esp + 16]
    mov esi, [esp + 20]
    push ebx
    push ecx
    push esi
    push edx
    push eax
    mov ds, ebx
    mov es, ebx
    xor eax, eax
    xor ebx, ebx
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor edi, edi
    xor ebp, ebp
    iretd

align 16
trap_stubs:
%assign i 0
%rep 256
    align 16
%if i != 8 && (i < 10 || i > 14) && i != 17
    push byte 0
%endif
    push dword i
    jmp near trap_common
%assign i i + 1
%endrep

trap_common:
    pushad
    push ds
    push es
    push fs
    push gs
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    cld
    push esp
    call trap_dispatch
    add esp, 4
    pop gs
    pop fs
    pop es
    pop ds
    popad
    add esp, 8
    iretd

section .bss
align 4096
kernel_stack:
    resb 16384
.end:
