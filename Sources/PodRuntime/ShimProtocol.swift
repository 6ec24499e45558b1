internal import ContainerPlan
internal import Kernel

// The packets of CShims/CSandbox/include/protocol.h. Little-endian, of fixed size.

enum ShimRequestKind: UInt32 {
  case start = 1
  case exec, signal, kill, resize, reopen, attach, closeStdin, forget, state, shutdown, prepare

  var name: String { "\(self)" }
}

struct ShimRequestFlags: OptionSet {
  let rawValue: UInt32
  static let hasCgroup = Self(rawValue: 1)
  static let hasLog = Self(rawValue: 2)
  static let stdin = Self(rawValue: 4)
  static let stdinOnce = Self(rawValue: 8)
  static let terminal = Self(rawValue: 16)
  static let hasStdin = Self(rawValue: 32)
  static let hasStdout = Self(rawValue: 64)
  static let hasStderr = Self(rawValue: 128)
  static let hasPlan = Self(rawValue: 256)
  static let prepared = Self(rawValue: 512)
}

/// What a shim can do that others of its protocol cannot.
struct ShimFeatures: OptionSet {
  let rawValue: UInt64
  /// Plans of up to `ShimRequest.planBytesMax` may follow the request in its packet.
  static let takesPlans = Self(rawValue: 1)
  /// A container's plan may begin before its start, and waits there.
  static let prepares = Self(rawValue: 2)
}

struct ShimRequest {
  var kind: ShimRequestKind
  var flags: ShimRequestFlags = []
  var id = ""
  var target = ""
  var arguments: [UInt64] = []

  static let idBytes = 72
  static let planBytesMax = 32 << 10

  func encoded(number: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(192)
    bytes.append(little: kind.rawValue)
    bytes.append(little: flags.rawValue)
    bytes.append(little: number)
    bytes.append(text: id, bytes: Self.idBytes)
    bytes.append(text: target, bytes: Self.idBytes)
    for index in 0..<4 { bytes.append(little: index < arguments.count ? arguments[index] : 0) }
    return bytes
  }
}

struct ShimMessage {
  enum Kind: UInt32 { case hello = 1, answer, item, exited, execExited }

  static let bytes = 128
  static let protocolVersion: UInt32 = 1
  static let noIndex = UInt32.max

  var kind: Kind
  var errno: Int32
  var number: UInt64
  var id: String
  var processID: Int32
  var index: UInt32
  var handle: UInt64
  var status: Int32
  var flags: UInt32
  var startedAtNanoseconds: Int64
  var finishedAtNanoseconds: Int64

  var isRunning: Bool { flags & 1 != 0 }
  var wasOutOfMemory: Bool { flags & 2 != 0 }
  var timedOut: Bool { flags & 4 != 0 }
  var scoreWasRefused: Bool { flags & 16 != 0 }
  var isPrepared: Bool { flags & 32 != 0 }

  /// nil for what is not a message.
  init?(_ packet: ArraySlice<UInt8>) {
    guard packet.count == Self.bytes else { return nil }
    let start = packet.startIndex
    func little<Number: FixedWidthInteger>(_ offset: Int, _ type: Number.Type) -> Number {
      (0..<MemoryLayout<Number>.size).reduce(Number.zero) { value, byte in
        value | Number(truncatingIfNeeded: packet[start + offset + byte]) << Number(byte * 8)
      }
    }
    guard let kind = Kind(rawValue: little(0, UInt32.self)) else { return nil }
    self.kind = kind
    errno = little(4, Int32.self)
    number = little(8, UInt64.self)
    id = String(decoding: packet[(start + 16)..<(start + 88)].prefix { $0 != 0 }, as: UTF8.self)
    processID = little(88, Int32.self)
    index = little(92, UInt32.self)
    handle = little(96, UInt64.self)
    status = little(104, Int32.self)
    flags = little(108, UInt32.self)
    startedAtNanoseconds = little(112, Int64.self)
    finishedAtNanoseconds = little(120, Int64.self)
  }

  var exit: ProcessExit {
    let signal = status & 0x7f
    return ProcessExit(
      status: signal == 0 ? .exited((status >> 8) & 0xff) : .signalled(signal),
      finishedAtNanoseconds: finishedAtNanoseconds, wasOutOfMemory: wasOutOfMemory)
  }
}

extension ShimConfiguration {
  static let packetBytesMax = 16 << 10

  struct Flags: OptionSet {
    let rawValue: UInt32
    static let network = Self(rawValue: 1)
    static let cgroup = Self(rawValue: 2)
    static let ipc = Self(rawValue: 4)
    static let uts = Self(rawValue: 8)
    static let reaper = Self(rawValue: 16)
    static let user = Self(rawValue: 32)
  }

  /// The first packet for a new shim, and the files of its sysctls in the order in which it sets them.
  func encoded() throws(PlanError) -> (bytes: [UInt8], sysctlPaths: [String]) {
    var flags: Flags = []
    if networkNamespacePath != nil { flags.insert(.network) }
    if cgroupDirectory != nil { flags.insert(.cgroup) }
    if hasOwnIPC { flags.insert(.ipc) }
    if hasOwnUTS { flags.insert(.uts) }
    if sharesProcessNamespace { flags.insert(.reaper) }
    if userNamespacePath != nil { flags.insert(.user) }
    for name in [hostname, domainName] where name.utf8.count > 64 || (!name.isEmpty && !hasOwnUTS) {
      throw PlanError("hostname", "\(name): at most 64 bytes, in a UTS namespace of the pod's own")
    }
    var text: [UInt8] = []
    var paths: [String] = []
    for (name, value) in sysctls.sorted(by: { $0.key < $1.key }) {
      let path = try Sysctls.path(
        name: name, value: value, hasOwnIPC: hasOwnIPC, hasOwnNetwork: networkNamespacePath != nil)
      paths.append(path)
      text += Array(path.utf8) + [0] + Array(value.utf8) + [0]
    }
    var bytes: [UInt8] = []
    bytes.append(little: flags.rawValue)
    bytes.append(little: Int32(oomScoreAdjust))
    bytes.append(little: sharedMemoryBytes)
    bytes.append(text: hostname, bytes: 72)
    bytes.append(text: domainName, bytes: 72)
    bytes.append(little: UInt32(paths.count))
    bytes.append(little: UInt32(text.count))
    bytes += text
    guard bytes.count <= Self.packetBytesMax else {
      throw PlanError("sysctls", "more than \(Self.packetBytesMax) bytes of names and values")
    }
    return (bytes, paths)
  }

  /// What a shim was doing when it failed to start.
  static func stage(_ index: UInt32, sysctlPaths: [String]) -> String {
    let names = [
      "ready", "read its configuration", "enter its cgroup", "find procfs and the null device",
      "enter the network namespace", "make IPC and UTS namespaces", "set the hostname", "set the domain name",
      "set oom_score_adj", "make /dev/shm", "start the reaper", "prepare for events", "listen",
    ]
    if Int(index) < names.count { return names[Int(index)] }
    let sysctl = Int(index) - names.count
    return sysctl < sysctlPaths.count ? "set sysctl \(sysctlPaths[sysctl])" : "stage \(index)"
  }
}

extension [UInt8] {
  fileprivate mutating func append(little value: some FixedWidthInteger) {
    for shift in stride(from: 0, to: value.bitWidth, by: 8) { append(UInt8(truncatingIfNeeded: value >> shift)) }
  }

  /// Padded with NULs; what is longer is cut, which its caller has excluded.
  fileprivate mutating func append(text: String, bytes: Int) {
    let utf8 = Array(text.utf8.prefix(bytes - 1))
    self += utf8 + [UInt8](repeating: 0, count: bytes - utf8.count)
  }
}
