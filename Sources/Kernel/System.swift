internal import CLinux
internal import Glibc

/// Clocks, in nanoseconds.
package enum SystemClock {
  /// Since 1970, UTC.
  package static var wallNanoseconds: Int64 { now(CLOCK_REALTIME) }
  /// Since boot, counting sleep.
  package static var bootNanoseconds: Int64 { now(CLOCK_BOOTTIME) }

  private static func now(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    unsafe clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}

/// Bytes from the kernel's random generator. Does not block after boot.
package func randomBytes(_ count: Int) -> [UInt8] {
  precondition(count <= 256, "getrandom gives up to 256 bytes whole")
  return unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
    // Safe: the buffer holds `count` bytes; a request of up to 256 is answered whole.
    while true {
      filled = unsafe clinux_getrandom(buffer.baseAddress!, count)
      if filled == count { return }
    }
  }
}

/// Lower-case hexadecimal digits of random bytes: twice `bytes` characters.
package func randomHex(bytes count: Int) -> String { hexadecimal(randomBytes(count)) }

/// Lower-case hexadecimal digits, two a byte.
package func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  let digits = Array("0123456789abcdef".utf8)
  var text: [UInt8] = []
  for byte in bytes {
    text.append(digits[Int(byte >> 4)])
    text.append(digits[Int(byte & 15)])
  }
  return String(decoding: text, as: UTF8.self)
}

/// Changes with every boot, so that what `/run` kept over one is known to be stale.
package func bootID() throws(SyscallError) -> String {
  let text = String(decoding: try Files.read("/proc/sys/kernel/random/boot_id", maxBytes: 64), as: UTF8.self)
  return String(text.prefix { $0 != "\n" })
}

/// The environment variable's value, or nil. Read only at start-up: the C library's environment is not locked.
package func environmentVariable(_ name: String) -> String? {
  guard let value = unsafe getenv(name) else { return nil }
  return unsafe String(cString: value)
}

/// Facts about this process.
package enum CurrentProcess {
  package static var id: Int32 { getpid() }
  package static var effectiveUser: UInt32 { geteuid() }
  /// Descriptors that are open, the one that counts them left out.
  package static func openDescriptors() throws(SyscallError) -> Int {
    try Directory(path: "/proc/self/fd").list().count - 2
  }
  /// Ends the process without running exit handlers.
  package static func exitNow(_ code: Int32) -> Never { _exit(code) }
}
