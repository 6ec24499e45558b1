internal import CRIModel
internal import ContainerPlan
internal import OCISpec

/// Reads user namespaces of requests. Pure.
enum UserNamespaceReader {
  /// The mappings that a pod asks for; nil for the node's users.
  static func users(_ options: CRINamespaceOption, _ field: String) throws(RequestRefusal) -> UserMappings? {
    let field = "\(field).userns_options"
    guard options.hasUsernsOptions else { return nil }
    let asked = options.usernsOptions
    switch asked.mode {
    case .node:
      guard asked.uids.isEmpty, asked.gids.isEmpty else { throw .invalid("\(field).uids", "mode NODE has no mappings") }
      return nil
    case .pod: break
    case .container, .target: throw .invalid("\(field).mode", "must be POD or NODE")
    case .UNRECOGNIZED(let number): throw .unsupported("\(field).mode", "mode \(number) is unknown")
    }
    guard options.pid != .node, options.ipc != .node else {
      throw .invalid("\(field).mode", "a pod with users of its own cannot have the node's processes or IPC")
    }
    return UserMappings(uids: [try only(asked.uids, "\(field).uids")], gids: [try only(asked.gids, "\(field).gids")])
  }

  /// One range, as kubelets give one, and in it the container's root.
  private static func only(_ mappings: [CRIIDMapping], _ field: String) throws(RequestRefusal) -> RuntimeSpec.IDMapping
  {
    guard mappings.count == 1 else { throw .invalid(field, "has \(mappings.count) mappings, one is needed") }
    let mapping = mappings[0]
    guard mapping.containerID == 0 else { throw .invalid("\(field)[0].container_id", "must be 0") }
    return try range(mapping, "\(field)[0]")
  }

  private static func range(_ mapping: CRIIDMapping, _ field: String) throws(RequestRefusal) -> RuntimeSpec.IDMapping {
    let ends = [mapping.containerID, mapping.hostID].map { UInt64($0) + UInt64(mapping.length) }
    guard mapping.length > 0, ends.allSatisfy({ $0 <= UInt64(UInt32.max) }) else {
      throw .invalid("\(field).length", "\(mapping.length) does not fit")
    }
    return RuntimeSpec.IDMapping(containerID: mapping.containerID, hostID: mapping.hostID, size: mapping.length)
  }

  /// Of an id-mapped mount: both kinds, or none.
  static func mount(
    _ mount: CRIMount, _ field: String
  ) throws(RequestRefusal) -> (uids: [RuntimeSpec.IDMapping], gids: [RuntimeSpec.IDMapping]) {
    guard mount.uidMappings.isEmpty == mount.gidMappings.isEmpty else {
      throw .invalid("\(field).gidMappings", "uidMappings and gidMappings come together")
    }
    var uids: [RuntimeSpec.IDMapping] = []
    var gids: [RuntimeSpec.IDMapping] = []
    for (index, entry) in mount.uidMappings.enumerated() {
      uids.append(try range(entry, "\(field).uidMappings[\(index)]"))
    }
    for (index, entry) in mount.gidMappings.enumerated() {
      gids.append(try range(entry, "\(field).gidMappings[\(index)]"))
    }
    return (uids, gids)
  }

  static func message(_ users: UserMappings?) -> CRIUserNamespace {
    func mappings(_ ranges: [RuntimeSpec.IDMapping]) -> [CRIIDMapping] {
      ranges.map { range in
        var mapping = CRIIDMapping()
        (mapping.containerID, mapping.hostID, mapping.length) = (range.containerID, range.hostID, range.size)
        return mapping
      }
    }
    var message = CRIUserNamespace()
    message.mode = users == nil ? .node : .pod
    message.uids = mappings(users?.uids ?? [])
    message.gids = mappings(users?.gids ?? [])
    return message
  }
}
