package import Kernel

/// What went wrong between us and systemd.
package enum SystemdError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The bus cannot be reached.
  case bus(path: String, cause: SyscallError)
  /// The bus does not let us in, or says what is no message.
  case badAnswer(String)
  /// systemd, or the bus, refused a call.
  case refused(call: String, subject: String, name: String, text: String)
  /// No answer came, or a job did not end.
  case timedOut(String, seconds: Int)
  /// A job ended, but not well.
  case job(unit: String, result: String)
  /// Not a name of a slice.
  case badSlice(String)
  /// Of what martletd does itself around the scope.
  case group(CgroupError)
  /// The unit stands where nobody looks for it.
  case elsewhere(path: String)

  package var description: String {
    switch self {
    case .bus(let path, let cause):
      "the system bus at \(path): \(cause); start dbus, or use cgroup-driver = \"cgroupfs\""
    case .badAnswer(let text): "the system bus: \(text)"
    case .refused(let call, let subject, let name, let text): "systemd: \(call) \(subject): \(name): \(text)"
    case .timedOut(let what, let seconds): "systemd: \(what): no answer within \(seconds) s"
    case .job(let unit, let result): "systemd: the job for \(unit) ended as \(result)"
    case .badSlice(let name):
      "\(name.prefix(256)): with cgroup-driver = \"systemd\" a parent is the name of a slice, as \"martlet.slice\""
    case .group(let error): error.description
    case .elsewhere(let path):
      "systemd made a scope, and there is no group \(path): its root is another one than this daemon's"
    }
  }
}

/// A connection to systemd's manager on the system bus, for one errand. Blocks: for a thread of its own.
struct SystemdBus: ~Copyable {
  private let stream: UnixStream
  private let path: String
  private var received: [UInt8] = []
  private var serial: UInt32 = 0
  /// Jobs that ended, by path: a signal can come before the answer that names its job.
  private var ended: [String: String] = [:]
  private let deadline: Int64

  private let seconds: Int
  /// Bytes of one answer before there are messages.
  private static let lineBytesMax = 4096
  private static let manager = "org.freedesktop.systemd1.Manager"
  private static let systemd = "org.freedesktop.systemd1"
  private static let object = "/org/freedesktop/systemd1"
  private static let bus = "org.freedesktop.DBus"

  /// Connects as the user that this process runs as, and follows jobs.
  /// - Parameter seconds: for all that is done with this connection.
  static func connect(_ path: String, seconds: Int) throws(SystemdError) -> SystemdBus {
    let stream: UnixStream
    do throws(SyscallError) { stream = try UnixStream.connect(path) } catch { throw .bus(path: path, cause: error) }
    var bus = SystemdBus(stream, path, seconds)
    try bus.enter()
    return bus
  }

  private init(_ stream: consuming UnixStream, _ path: String, _ seconds: Int) {
    self.stream = stream
    self.path = path
    self.seconds = seconds
    deadline = SystemClock.bootNanoseconds + Int64(seconds) * 1_000_000_000
  }

  // MARK: Bytes

  private func write(_ bytes: [UInt8]) throws(SystemdError) {
    do throws(SyscallError) { try stream.write(bytes) } catch { throw .bus(path: path, cause: error) }
  }

  private mutating func readMore(_ what: String) throws(SystemdError) {
    do throws(SyscallError) {
      let bytes = try stream.read(upTo: 1 << 16, until: deadline)
      if !bytes.isEmpty {
        received += bytes
        return
      }
    } catch {
      if error.errno == Errno.timedOut { throw .timedOut(what, seconds: seconds) }
      throw .bus(path: path, cause: error)
    }
    throw .badAnswer("\(what): the connection was closed")
  }

  private mutating func next(_ what: String) throws(SystemdError) -> DBusMessage {
    do {
      while true {
        if let length = try DBusMessage.length(received), received.count >= length {
          defer { received.removeFirst(length) }
          return try DBusMessage(Array(received[..<length]))
        }
        try readMore(what)
      }
    } catch let error as DBusFormatError {
      throw .badAnswer("\(what): \(error)")
    } catch let error as SystemdError {
      throw error
    } catch {
      throw .badAnswer("\(what): \(error)")
    }
  }

  // MARK: Messages

  /// D-Bus specification, "Authentication Protocol": who we are the kernel tells.
  private mutating func enter() throws(SystemdError) {
    let user = "\(CurrentProcess.effectiveUser)".utf8.map { "3\(String($0 - UInt8(ascii: "0")))" }.joined()
    try write([0] + Array("AUTH EXTERNAL \(user)\r\n".utf8))
    while received.last != UInt8(ascii: "\n") {
      guard received.count < Self.lineBytesMax else { throw .badAnswer("AUTH: a line without an end") }
      try readMore("AUTH")
    }
    let line = String(decoding: received, as: UTF8.self)
    guard line.hasPrefix("OK ") else { throw .badAnswer("AUTH EXTERNAL: \(line.prefix(200))") }
    received = []
    try write(Array("BEGIN\r\n".utf8))
    _ = try call(Self.bus, "/org/freedesktop/DBus", Self.bus, "Hello", "", [])
    let rule =
      "type='signal',sender='\(Self.systemd)',path='\(Self.object)',interface='\(Self.manager)',member='JobRemoved'"
    _ = try call(Self.bus, "/org/freedesktop/DBus", Self.bus, "AddMatch", "", [.string(rule)])
    // Without it systemd tells no signals to anybody.
    _ = try call(Self.systemd, Self.object, Self.manager, "Subscribe", "", [])
  }

  private mutating func call(
    _ destination: String, _ path: String, _ interface: String, _ member: String, _ subject: String, _ body: [DBusValue]
  ) throws(SystemdError) -> [DBusValue] {
    serial += 1
    var message = DBusMessage(.call, serial: serial)
    message.destination = destination
    message.path = path
    message.interface = interface
    message.member = member
    message.body = body
    try write(message.encoded)
    while true {
      let answer = try next(member)
      note(answer)
      guard answer.replySerial == serial else { continue }
      switch answer.kind {
      case .answer: return answer.body
      case .error:
        guard case .string(let text)? = answer.body.first else {
          throw .refused(call: member, subject: subject, name: answer.errorName, text: "")
        }
        throw .refused(call: member, subject: subject, name: answer.errorName, text: text)
      case .call, .signal: continue
      }
    }
  }

  private mutating func note(_ message: DBusMessage) {
    guard message.kind == .signal, message.member == "JobRemoved", message.body.count == 4,
      case .objectPath(let job) = message.body[1], case .string(let result) = message.body[3]
    else { return }
    ended[job] = result
  }

  /// Calls a method that begins a job, and waits for the job's end.
  mutating func run(_ member: String, unit: String, _ body: [DBusValue]) throws(SystemdError) {
    let answer = try call(Self.systemd, Self.object, Self.manager, member, unit, body)
    guard case .objectPath(let job)? = answer.first else { throw .badAnswer("\(member) \(unit): no job") }
    while ended[job] == nil { note(try next("\(member) \(unit)")) }
    guard let result = ended[job], result == "done" else {
      throw .job(unit: unit, result: ended[job] ?? "")
    }
  }
}
