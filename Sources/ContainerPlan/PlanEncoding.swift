extension Plan {
  static let magic: UInt32 = 0x4e4c_504d
  static let version: UInt16 = 2
  static let operationsMax = 2048
  static let bytesMax = 4 << 20

  /// The plan as the shim's child walks it: a header, operations of one size, then strings and arrays.
  package func encoded() -> [UInt8] {
    var encoder = PlanEncoder(operationCount: operations.count)
    let fixed = operations.map { encoder.encode($0) }
    return encoder.finish(fixed)
  }
}

/// An operation's code and its six arguments.
struct EncodedOperation {
  var code: UInt16
  var arguments: [UInt64]
}

/// Collects strings and arrays, each once, behind the operations.
struct PlanEncoder {
  private static let headerBytes = 16
  private static let operationBytes = 56
  private static let noSlot = UInt64.max

  private let start: Int
  private var blob: [UInt8] = []
  private var strings: [String: UInt64] = [:]

  init(operationCount: Int) { start = Self.headerBytes + Self.operationBytes * operationCount }

  private mutating func align() { while (start + blob.count) % 8 != 0 { blob.append(0) } }

  mutating func string(_ text: String) -> UInt64 {
    if let known = strings[text] { return known }
    let offset = UInt64(start + blob.count)
    blob.append(contentsOf: text.utf8)
    blob.append(0)
    strings[text] = offset
    return offset
  }

  mutating func bytes(_ data: [UInt8]) -> UInt64 {
    align()
    let offset = UInt64(start + blob.count)
    blob += data
    return offset
  }

  private mutating func vector(_ texts: [String]) -> UInt64 {
    let offsets = texts.map { string($0) }
    var data: [UInt8] = []
    data.reserveCapacity((offsets.count + 1) * 8)
    for offset in offsets { data.append(littleEndian: offset) }
    data.append(littleEndian: UInt64(0))
    return bytes(data)
  }

  private func slot(_ slot: PlanOperation.Slot?) -> UInt64 { slot.map { UInt64($0.number) } ?? Self.noSlot }

  func finish(_ operations: [EncodedOperation]) -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(start + blob.count + 1)
    output.append(littleEndian: Plan.magic)
    output.append(littleEndian: Plan.version)
    output.append(littleEndian: UInt16(operations.count))
    // The last byte is 0, whatever comes before it, so that no string runs on.
    output.append(littleEndian: UInt32(start + blob.count + 1))
    output.append(littleEndian: UInt32(0))
    for operation in operations {
      output.append(littleEndian: UInt64(operation.code))
      for index in 0..<6 {
        output.append(littleEndian: index < operation.arguments.count ? operation.arguments[index] : 0)
      }
    }
    output += blob
    output.append(0)
    return output
  }

  mutating func encode(_ operation: PlanOperation) -> EncodedOperation {
    switch operation {
    case .startSession: op(1)
    case .copyTree(let slot, let path, let isRecursive, let isNull):
      op(2, self.slot(slot), string(path), (isRecursive ? 1 : 0) | (isNull ? 2 : 0))
    case .openFileSystem(let slot, let type): op(3, self.slot(slot), string(type))
    case .setOption(let slot, let key, let value): op(4, self.slot(slot), string(key), string(value))
    case .setFlag(let slot, let key): op(5, self.slot(slot), string(key))
    case .makeMount(let slot, let attributes): op(6, self.slot(slot), attributes.rawValue)
    case .setAttributes(let slot, let set, let clear, let propagation, let isRecursive):
      op(7, self.slot(slot), set.rawValue, clear.rawValue, propagation?.number ?? 0, isRecursive ? 1 : 0)
    case .enterNamespaces(let namespaces): op(8, namespaces.rawValue)
    case .attachRoot(let slot): op(9, self.slot(slot))
    case .attach(let slot, let path, let within, let missing, let refusesLinks):
      op(10, self.slot(slot), string(path), missing.number | (refusesLinks ? 4 : 0), self.slot(within))
    case .makeDirectory(let root, let path, let mode): op(11, slot(root), string(path), UInt64(mode))
    case .makeNode(let root, let path, let mode, let major, let minor, let uid, let gid):
      op(12, slot(root), string(path), UInt64(mode), UInt64(major) << 32 | UInt64(minor), UInt64(uid), UInt64(gid))
    case .makeLink(let root, let path, let target): op(13, slot(root), string(path), string(target))
    case .mask(let path, let within): op(14, string(path), slot(within))
    case .makeReadOnly(let path, let within): op(15, string(path), slot(within))
    case .enterRoot: op(16)
    case .setHostname(let name): op(17, string(name))
    case .setDomainName(let name): op(18, string(name))
    default: encodeProcess(operation)
    }
  }

  private mutating func encodeProcess(_ operation: PlanOperation) -> EncodedOperation {
    switch operation {
    case .setSysctl(let path, let value): op(19, string(path), bytes(Array(value.utf8)), UInt64(value.utf8.count))
    case .setResourceLimit(_, let number, let soft, let hard): op(20, UInt64(number), soft, hard)
    case .setGroups(let groups):
      op(21, bytes(groups.reduce(into: []) { $0.append(littleEndian: $1) }), UInt64(groups.count * 4))
    case .setIDs(let uid, let gid, let keeps): op(22, UInt64(uid), UInt64(gid), keeps ? 1 : 0)
    case .limitCapabilities(let mask): op(23, mask)
    case .setCapabilities(let effective, let permitted, let ambient): op(24, effective, permitted, ambient)
    case .setLabel(let kind, let label):
      op(19, string(kind.path), bytes(kind.text(label)), UInt64(kind.text(label).count))
    case .mapIDs(let slot, let isRecursive): op(35, self.slot(slot), isRecursive ? 1 : 0)
    case .setLayer(let slot, let key, let layer): op(36, self.slot(slot), string(key), self.slot(layer))
    case .takePart(let slot, let path): op(37, self.slot(slot), string(path))
    case .enterUserNamespace: op(38)
    case .forbidNewPrivileges: op(25)
    case .filterSystemCalls(let program, let flags): op(26, bytes(program), UInt64(program.count), UInt64(flags))
    case .changeDirectory(let path): op(27, string(path))
    case .setUmask(let mask): op(28, UInt64(mask))
    case .ownStdio(let uid, let gid): op(29, UInt64(uid), UInt64(gid))
    case .openTerminal(let devpts, let dev, let rows, let columns, let uid):
      op(30, slot(devpts), slot(dev), UInt64(rows) << 16 | UInt64(columns), UInt64(uid))
    case .setOutOfMemoryScore(let score): op(31, UInt64(score + 1000))
    case .join(let namespaces): op(32, namespaces.rawValue)
    case .closeDescriptors: op(33)
    case .waitForStart: op(39)
    case .execute(let candidates, let arguments, let environment):
      op(34, vector(candidates), vector(arguments), vector(environment))
    default: preconditionFailure("encoded by encode(_:)")
    }
  }

  private func op(_ code: UInt16, _ arguments: UInt64...) -> EncodedOperation {
    EncodedOperation(code: code, arguments: arguments)
  }
}

extension PlanOperation.LabelKind {
  /// Below /proc.
  fileprivate var path: String {
    switch self {
    case .apparmor: "self/attr/apparmor/exec"
    case .selinux: "self/attr/exec"
    }
  }

  fileprivate func text(_ label: String) -> [UInt8] {
    switch self {
    case .apparmor: Array("exec \(label)".utf8)
    case .selinux: Array(label.utf8)
    }
  }
}

extension PlanOperation.Missing {
  fileprivate var number: UInt64 {
    switch self {
    case .isError: 0
    case .makeDirectory: 1
    case .makeFile: 2
    case .makeSame: 3
    }
  }
}

extension [UInt8] {
  fileprivate mutating func append(littleEndian value: some FixedWidthInteger) {
    // Safe: the bytes of an integer, which live for the closure.
    unsafe Swift.withUnsafeBytes(of: value.littleEndian) { unsafe append(contentsOf: $0) }
  }
}
