; Reads 32 bytes from its standard input and credits them to the kernel's random pool as full entropy, so that whoever
; asks for random numbers need not wait until interrupts have brought enough (random(4), RNDADDENTROPY). An i386 ELF
; file written out by hand, for nasm -f bin: a shell cannot make the system call. Exit code: 0, or 1 if any of it failed.
bits 32
org 0x08048000

kSeed equ 32
kExit equ 1
kRead equ 3
kOpen equ 5
kIoctl equ 54
kWriteOnly equ 1
kAddEntropy equ 0x40085203      ; _IOW('R', 3, int[2])

file:
    db 0x7f, "ELF", 1, 1, 1, 0
    dq 0
    dw 2, 3                     ; an executable for i386
    dd 1, start, header - file, 0, 0
    dw 52, 32, 1, 0, 0, 0
header:
    dd 1, 0, file, file, file_end - file, memory_end - file, 7, 0x1000

start:
    mov eax, kRead
    xor ebx, ebx
    mov ecx, seed
    mov edx, kSeed
    int 0x80
    cmp eax, kSeed
    jne failed
    mov eax, kOpen
    mov ebx, device
    mov ecx, kWriteOnly
    int 0x80
    test eax, eax
    js failed
    mov ebx, eax
    mov eax, kIoctl
    mov ecx, kAddEntropy
    mov edx, pool
    int 0x80
    test eax, eax
    jnz failed
    xor ebx, ebx
    jmp leave
failed:
    mov ebx, 1
leave:
    mov eax, kExit
    int 0x80

device db "/dev/random", 0
align 4
pool dd kSeed * 8, kSeed        ; bits, bytes; the bytes follow
file_end:
seed equ file_end
memory_end equ seed + kSeed
