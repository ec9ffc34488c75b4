; What stands before a kernel that tools/unpack_kernel has unpacked: a bzImage's two entry points (Linux
; Documentation/arch/x86/boot.rst, "32-bit Boot Protocol" and "64-bit Boot Protocol"), which only go on to the kernel's
; own. Given to nasm -f bin with KERNEL, the address that the kernel is linked at, and LONG for one of 64 bits. ESI (RSI)
; has the boot parameters throughout.
kPages equ 8                    ; this page, one to spare, and six of page tables
org KERNEL - kPages * 0x1000

bits 32
entry32:
    cld
%ifdef LONG
    ; 4 GiB one to one in 2 MiB pages.
    mov dword [pml4], pdpt + 3
    mov edi, pdpt
    mov eax, directories + 3
    mov ecx, 4
.directory:
    mov [edi], eax
    add edi, 8
    add eax, 0x1000
    loop .directory
    mov edi, directories
    mov eax, 0x83               ; present, writable, 2 MiB
    mov ecx, 2048
.page:
    mov [edi], eax
    add edi, 8
    add eax, 0x200000
    loop .page
    mov eax, 0x20               ; PAE
    mov cr4, eax
    mov eax, pml4
    mov cr3, eax
    mov ecx, 0xc0000080         ; EFER
    mov eax, 0x100              ; LME
    xor edx, edx
    wrmsr
    mov eax, 0x80000001         ; PG, PE
    mov cr0, eax
    lgdt [pointer]
    jmp 0x10:long_mode

bits 64
long_mode:
    mov eax, 0x18
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esi, esi
%endif
    jmp kernel

times 0x200 - ($ - $$) db 0
entry64:
kernel:
    mov eax, KERNEL
%ifdef LONG
    jmp rax

align 8
gdt:
    dq 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff
pointer:
    dw $ - gdt - 1
    dd gdt
%else
    jmp eax
%endif
times kPages * 0x1000 - ($ - $$) db 0

pml4 equ KERNEL - 6 * 0x1000
pdpt equ KERNEL - 5 * 0x1000
directories equ KERNEL - 4 * 0x1000
