import Glibc
import Kernel

/// A TCP client that sends exactly the bytes it is told: for what no HTTP library would send.
struct RawClient: ~Copyable {
  private let socket: OwnedFD
  /// MSG_NOSIGNAL, whose type differs between versions of the C library's module.
  private let noSignal: CInt = 0x4000

  init(port: Int) throws {
    let fd = Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    socket = OwnedFD(adopting: fd)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else { throw SyscallError(call: "connect", subject: "\(port)", errno: errno) }
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  func send(_ text: String) throws { try send(Array(text.utf8)) }

  func send(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      let count = socket.withRaw { fd in
        bytes.withUnsafeBytes { Glibc.send(fd, $0.baseAddress! + done, bytes.count - done, noSignal) }
      }
      guard count > 0 else { throw SyscallError(call: "send", subject: "raw client", errno: errno) }
      done += count
    }
  }

  func closeWriting() { _ = socket.withRaw { shutdown($0, CInt(SHUT_WR)) } }

  /// Closes with a reset, as a process that is killed with unread bytes does.
  consuming func reset() {
    var linger = linger(l_onoff: 1, l_linger: 0)
    _ = socket.withRaw { setsockopt($0, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size)) }
  }

  /// Everything until the server closes; `nil` bytes in ten seconds end it, too.
  func readToEnd() -> String {
    var all: [UInt8] = []
    while let chunk = try? socket.read(upTo: 65536), !chunk.isEmpty { all += chunk }
    return String(decoding: all, as: UTF8.self)
  }

  /// Reads until `text` has come, or the end.
  func read(until text: String) -> String {
    var all: [UInt8] = []
    while let chunk = try? socket.read(upTo: 65536), !chunk.isEmpty {
      all += chunk
      let so = String(decoding: all, as: UTF8.self)
      if so.contains(text) { return so }
    }
    return String(decoding: all, as: UTF8.self)
  }

  /// Sends, and gives everything that comes back until the server closes. On a thread of its own, for it blocks.
  static func exchange(port: Int, _ text: String, closesWriting: Bool = false) async throws -> String {
    try await onFreshThread { () throws(SyscallError) -> String in
      do {
        let client = try RawClient(port: port)
        try client.send(text)
        if closesWriting { client.closeWriting() }
        return client.readToEnd()
      } catch let error as SyscallError {
        throw error
      } catch {
        throw SyscallError(call: "exchange", subject: "\(error)", errno: 0)
      }
    }
  }
}
