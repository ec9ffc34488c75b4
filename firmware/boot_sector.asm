; A 1.44 MB floppy's contents (nasm -f bin): a boot sector, a second stage in the next sector, and a marked last sector.
; It shows that the BIOS boots a floppy and that INT 10h and INT 13h work on it, near and far. Every line goes to the
; screen by INT 10h and to COM1 by hand. Exits through isa-debug-exit: 0x10 when all was right, 0x11 when not.

bits 16
org 0x7c00

kDebugExit equ 0xf4
kCom1 equ 0x3f8
kSectorSize equ 512
kSectors equ 80 * 2 * 18

start:
        cli
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7c00
        sti
        cld
        jmp     0:.flat
.flat:
        mov     [drive], dl
        mov     si, hello
        call    print
        mov     bx, second_stage
        mov     cx, 0x0002              ; cylinder 0, sector 2
        mov     dh, 0
        call    read_sector
        cmp     word [second_stage_mark], 0x5353
        jne     fail
        jmp     second_stage

; Reads the sector CX/DH (as INT 13h names it) to ES:BX; three tries, since a real drive may still spin up.
read_sector:
        mov     dl, [drive]
        mov     bp, 3
.try:
        mov     ax, 0x0201
        push    bp
        int     0x13
        pop     bp
        jnc     .done
        xor     ah, ah
        int     0x13
        dec     bp
        jnz     .try
        mov     si, unreadable
        call    print
        jmp     fail
.done:
        ret

; Prints the string at SI, which ends with 0.
print:
        lodsb
        test    al, al
        jz      .done
        push    ax
        mov     ah, 0x0e
        mov     bx, 0x0007
        int     0x10
        mov     dx, kCom1 + 5
.wait:
        in      al, dx
        test    al, 0x20
        jz      .wait
        pop     ax
        mov     dx, kCom1
        out     dx, al
        jmp     print
.done:
        ret

fail:
        mov     si, failed
        call    print
        mov     al, 0x11
leave:
        out     kDebugExit, al
        cli                             ; no debug exit on this machine: sleep for good
.halt:
        hlt
        jmp     .halt

drive:      db 0
hello:      db 'floppy: boot sector runs', 13, 10, 0
unreadable: db 'floppy: INT 13h cannot read', 13, 10, 0
failed:     db 'floppy: FAIL', 13, 10, 0

        times kSectorSize - 2 - ($ - $$) db 0
        dw      0xaa55

second_stage:
        jmp     second_stage_go
        align   4, db 0
second_stage_mark:
        dw      0x5353
second_stage_go:
        mov     si, second
        call    print
        mov     bx, 0x8000
        mov     cx, 79 << 8 | 18        ; the last sector: cylinder 79, head 1, sector 18
        mov     dh, 1
        call    read_sector
        mov     si, 0x8000
        mov     di, expected
        mov     cx, expected_end - expected
        repe cmpsb
        jne     fail
        mov     si, passed
        call    print
        mov     al, 0x10
        jmp     leave

second:     db 'floppy: second sector runs', 13, 10, 0
passed:     db 'floppy: last sector is right', 13, 10, 'floppy: PASS', 13, 10, 0
expected:   db 'the last sector of this floppy'
expected_end:

        times kSectorSize * (kSectors - 1) - ($ - $$) db 0
        db      'the last sector of this floppy'
        times kSectorSize * kSectors - ($ - $$) db 0
