; Entry and trap stubs of the long mode guests; see runtime.h. Linked as ELF64, then rewritten as the ELF32 which
; multiboot wants; entered in 32-bit protected mode like every other guest.
global _start, kernel_stack, trap_stubs, load_segments, save_point, jump_back, enter_user, boot_pml4, boot_pdpt, boot_pd
extern runtime_main, trap_dispatch

section .multiboot progbits alloc noexec nowrite
align 4
    dd 0x1badb002, 0, -0x1badb002

section .text
bits 32
_start:
    cli
    cld
    mov esp, kernel_stack.end
    mov dword [boot_pml4], boot_pdpt + 7
    mov ecx, 4
    mov eax, boot_pd + 7
    mov edi, boot_pdpt
.directories:
    mov [edi], eax
    add eax, 0x1000
    add edi, 8
    loop .directories
    mov ecx, 2048
    mov eax, 0x87               ; present, writable, user, 2 MiB
    mov edi, boot_pd
.pages:
    mov [edi], eax
    add eax, 0x200000
    add edi, 8
    loop .pages
    mov eax, 0x20               ; PAE
    mov cr4, eax
    mov eax, boot_pml4
    mov cr3, eax
    mov ecx, 0xc0000080         ; EFER
    mov eax, 0x901              ; NXE, LME, SCE
    xor edx, edx
    wrmsr
    mov eax, 0x80000031
    mov cr0, eax
    lgdt [boot_gdt.pointer]
    jmp 0x08:.long
bits 64
.long:
    mov eax, 0x10
    mov ss, eax
    mov esp, kernel_stack.end
    fninit
    push 2
    popfq
    call runtime_main

load_segments:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    pop rax
    push 0x08
    push rax
    o64 retf

; int save_point(struct Jump*, void (*code)(void))
save_point:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rdi], rsp
    sub rsp, 8
    call rsi
    add rsp, 8
    xor eax, eax
.out:
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; void jump_back(struct Jump*)
jump_back:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov rsp, [rdi]
    mov eax, 1
    jmp save_point.out

; void enter_user(ip, sp, cs, ss, flags)
enter_user:
    push rcx
    push rsi
    push r8
    push rdx
    push rdi
    mov ds, ecx
    mov es, ecx
    xor eax, eax
    xor ebx, ebx
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor edi, edi
    xor ebp, ebp
    iretq

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
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    cld
    call trap_dispatch
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq

section .data
align 8
boot_gdt:
    dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff
.pointer:
    dw $ - boot_gdt - 1
    dd boot_gdt

section .bss
align 4096
boot_pml4:
    resb 4096
boot_pdpt:
    resb 4096
boot_pd:
    resb 4 * 4096
kernel_stack:
    resb 16384
.end:
