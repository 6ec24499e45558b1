internal import JSON
internal import OCISpec

/// Devices that vendors describe by the Container Device Interface (CDI 1.0): a name such as `vendor.com/class=0` stands
/// for edits of a container's specification. Pure: documents in, edits out.
struct CDIRegistry: Sendable {
  /// What a device does to a container.
  struct Edits: Equatable, Sendable {
    struct Node: Equatable, Sendable {
      /// In the container.
      var path: String
      /// On the node, where its kind and number are looked up unless given.
      var hostPath: String
      var kind: RuntimeSpec.Device.Kind?
      var major: UInt32?
      var minor: UInt32?
      var mode: UInt32?
      var uid: UInt32?
      var gid: UInt32?
      /// Of r, w and m.
      var access: String
    }
    /// NAME=VALUE
    var environment: [String] = []
    var nodes: [Node] = []
    var mounts: [RuntimeSpec.Mount] = []
    var additionalGroups: [UInt32] = []

    mutating func append(_ other: Edits) {
      environment += other.environment
      nodes += other.nodes
      mounts += other.mounts
      for group in other.additionalGroups where !additionalGroups.contains(group) { additionalGroups.append(group) }
    }
  }

  /// A file that cannot be used; the others can.
  struct Problem: Equatable, Sendable, CustomStringConvertible {
    var path: String
    var problem: String
    var description: String { "\(path): \(problem)" }
  }

  /// One document of a kind.
  private struct Vendor: Sendable {
    var path: String
    /// Later directories win over earlier ones.
    var priority: Int
    var edits: Edits
  }
  private struct Device: Sendable {
    var vendor: Vendor
    var edits: Edits
    /// Another document of the same priority that describes the same device.
    var conflict: String?
  }

  /// Bytes of one document.
  static let documentBytesMax = 4 << 20
  /// Documents of one directory.
  static let documentsMax = 256
  /// Devices that one container asks for.
  static let devicesMax = 256
  static let directories = ["/etc/cdi", "/var/run/cdi"]

  private var devices: [String: Device] = [:]
  private(set) var problems: [Problem] = []

  /// Takes a document in. Call in the order of the directories.
  mutating func add(_ document: JSONValue, path: String, priority: Int) {
    do throws(RequestRefusal) {
      let reader = CDIReader(value: document, field: path)
      let version = try reader.string("cdiVersion")
      guard version.hasPrefix("0.") || version.hasPrefix("1.") else {
        throw .invalid(path, "version \(version) of CDI is not known; 0 and 1 are")
      }
      let kind = try reader.string("kind")
      guard kind.split(separator: "/", omittingEmptySubsequences: false).count == 2 else {
        throw .invalid(path, "kind \(kind): must be vendor/class")
      }
      let vendor = Vendor(
        path: path, priority: priority, edits: try reader.object("containerEdits")?.edits() ?? Edits())
      for device in try reader.objects("devices") {
        let edits = try device.object("containerEdits")?.edits() ?? Edits()
        insert("\(kind)=\(try device.name())", Device(vendor: vendor, edits: edits, conflict: nil))
      }
    } catch {
      problems.append(Problem(path: path, problem: error.description))
    }
  }

  mutating func note(_ problem: Problem) { problems.append(problem) }

  private mutating func insert(_ name: String, _ device: Device) {
    guard var known = devices[name] else {
      devices[name] = device
      return
    }
    if device.vendor.priority > known.vendor.priority {
      devices[name] = device
    } else if device.vendor.priority == known.vendor.priority {
      known.conflict = device.vendor.path
      devices[name] = known
    }
  }

  /// The edits of the named devices in their order, each document's own once and before those of its devices.
  func edits(of names: [String]) throws(RequestRefusal) -> Edits {
    guard names.count <= Self.devicesMax else { throw .invalid("CDI_devices", "more than \(Self.devicesMax)") }
    var edits = Edits()
    var seen: Set<String> = []
    for (index, name) in names.enumerated() {
      let field = "CDI_devices[\(index)].name"
      guard let device = devices[name] else {
        let reasons = problems.isEmpty ? "" : "; unusable: \(problems.map(\.description).joined(separator: "; "))"
        throw .invalid(field, "\(name): no document in \(Self.directories.joined(separator: " or ")) has it\(reasons)")
      }
      if let conflict = device.conflict {
        throw .invalid(field, "\(name): both \(device.vendor.path) and \(conflict) describe it")
      }
      if seen.insert(device.vendor.path).inserted { edits.append(device.vendor.edits) }
      edits.append(device.edits)
    }
    return edits
  }
}

/// Reads members of a CDI document and names them in refusals.
private struct CDIReader {
  let value: JSONValue
  let field: String

  func string(_ key: String) throws(RequestRefusal) -> String {
    guard let text = value[key]?.string, !text.isEmpty else { throw .invalid("\(field).\(key)", "must be a text") }
    return text
  }

  func optionalString(_ key: String) throws(RequestRefusal) -> String? {
    guard let member = value[key], !member.isNull else { return nil }
    guard let text = member.string else { throw .invalid("\(field).\(key)", "must be a text") }
    return text
  }

  func number(_ key: String) throws(RequestRefusal) -> UInt32? {
    guard let member = value[key], !member.isNull else { return nil }
    guard let number = member.integer.flatMap({ UInt32(exactly: $0) }) else {
      throw .invalid("\(field).\(key)", "must be a number of 32 bits")
    }
    return number
  }

  func strings(_ key: String) throws(RequestRefusal) -> [String] {
    var found: [String] = []
    for member in value[key]?.array ?? [] {
      guard let text = member.string, !text.utf8.contains(0) else {
        throw .invalid("\(field).\(key)", "must be a list of texts")
      }
      found.append(text)
    }
    return found
  }

  func object(_ key: String) throws(RequestRefusal) -> CDIReader? {
    guard let member = value[key], !member.isNull else { return nil }
    guard member.object != nil else { throw .invalid("\(field).\(key)", "must be an object") }
    return CDIReader(value: member, field: "\(field).\(key)")
  }

  func objects(_ key: String) throws(RequestRefusal) -> [CDIReader] {
    guard let member = value[key], !member.isNull else { return [] }
    guard let array = member.array, array.allSatisfy({ $0.object != nil }) else {
      throw .invalid("\(field).\(key)", "must be a list of objects")
    }
    return array.enumerated().map { CDIReader(value: $1, field: "\(field).\(key)[\($0)]") }
  }

  func name() throws(RequestRefusal) -> String {
    let name = try string("name")
    let plain = name.utf8.allSatisfy {
      (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || "_-.:".utf8.contains($0)
    }
    guard plain else { throw .invalid("\(field).name", "\(name): letters, digits, _, -, . and :") }
    return name
  }

  func edits() throws(RequestRefusal) -> CDIRegistry.Edits {
    for key in ["hooks", "netDevices"] where !(value[key]?.array ?? []).isEmpty {
      throw .unsupported("\(field).\(key)", "are not supported")
    }
    if let rdt = value["intelRdt"], !rdt.isNull { throw .unsupported("\(field).intelRdt") }
    var edits = CDIRegistry.Edits()
    edits.environment = try strings("env")
    if let wrong = edits.environment.first(where: { !$0.contains("=") || $0.hasPrefix("=") }) {
      throw .invalid("\(field).env", "\(wrong): must be NAME=VALUE")
    }
    for node in try objects("deviceNodes") { edits.nodes.append(try node.node()) }
    for mount in try objects("mounts") { edits.mounts.append(try mount.mount()) }
    for group in value["additionalGids"]?.array ?? [] {
      guard let gid = group.integer.flatMap({ UInt32(exactly: $0) }) else {
        throw .invalid("\(field).additionalGids", "must be a list of group ids")
      }
      // Zero is left out by CDI itself: root's group is nothing that a device gives.
      if gid != 0 { edits.additionalGroups.append(gid) }
    }
    return edits
  }

  private func path(_ key: String) throws(RequestRefusal) -> String {
    let path = try string(key)
    guard path.hasPrefix("/"), !path.utf8.contains(0), !path.split(separator: "/").contains("..") else {
      throw .invalid("\(field).\(key)", "\(path): must be absolute and without ..")
    }
    return path
  }

  private func node() throws(RequestRefusal) -> CDIRegistry.Edits.Node {
    let path = try path("path")
    let kind: RuntimeSpec.Device.Kind?
    switch try optionalString("type") {
    case nil, "": kind = nil
    case "c", "u": kind = .character
    case "b": kind = .block
    case "p": kind = .fifo
    case let other?: throw .invalid("\(field).type", "\(other): one of c, b and p")
    }
    let access = try optionalString("permissions") ?? "rwm"
    guard access.utf8.allSatisfy({ "rwm".utf8.contains($0) }) else {
      throw .invalid("\(field).permissions", "\(access): made of r, w and m")
    }
    return CDIRegistry.Edits.Node(
      path: path, hostPath: try optionalString("hostPath") == nil ? path : try self.path("hostPath"), kind: kind,
      major: try number("major"), minor: try number("minor"), mode: try number("fileMode"), uid: try number("uid"),
      gid: try number("gid"), access: access.isEmpty ? "rwm" : access)
  }

  private func mount() throws(RequestRefusal) -> RuntimeSpec.Mount {
    let type = try optionalString("type") ?? ""
    guard ["", "bind", "none", "tmpfs"].contains(type) else {
      throw .unsupported("\(field).type", "\(type): bind and tmpfs are supported")
    }
    let options = try strings("options")
    let isBind = type != "tmpfs"
    return RuntimeSpec.Mount(
      destination: try path("containerPath"), type: isBind ? "bind" : "tmpfs",
      source: isBind ? try path("hostPath") : "tmpfs",
      options: isBind && !options.contains(where: { $0 == "bind" || $0 == "rbind" }) ? ["rbind"] + options : options)
  }
}
