package import OCISpec

/// Which ids of the host a user namespace's are.
package struct UserMappings: Hashable, Sendable {
  package var uids: [RuntimeSpec.IDMapping]
  package var gids: [RuntimeSpec.IDMapping]

  package init(uids: [RuntimeSpec.IDMapping], gids: [RuntimeSpec.IDMapping]) {
    self.uids = uids
    self.gids = gids
  }

  /// What a specification asks for; nil where its container stays in the node's user namespace.
  /// - Throws: `PlanError` for half of it: a namespace without mappings, or mappings without one.
  package static func asked(by spec: RuntimeSpec) throws(PlanError) -> UserMappings? {
    let field = "linux.uidMappings"
    guard let namespace = spec.linux.namespaces.first(where: { $0.kind == .user }) else {
      guard spec.linux.uidMappings.isEmpty, spec.linux.gidMappings.isEmpty else {
        throw PlanError(field, "mappings without a user namespace among linux.namespaces")
      }
      return nil
    }
    guard namespace.path == nil else {
      throw PlanError("linux.namespaces", "joining a user namespace by its path is not supported")
    }
    guard !spec.linux.uidMappings.isEmpty, !spec.linux.gidMappings.isEmpty else {
      throw PlanError(field, "a user namespace needs mappings of users and of groups")
    }
    return UserMappings(uids: spec.linux.uidMappings, gids: spec.linux.gidMappings)
  }

  func hostUser(_ id: UInt32, field: String) throws(PlanError) -> UInt32 {
    guard let host = uids.hostID(of: id) else { throw PlanError(field, "user \(id) is not mapped to one of the host") }
    return host
  }

  func hostGroup(_ id: UInt32, field: String) throws(PlanError) -> UInt32 {
    guard let host = gids.hostID(of: id) else { throw PlanError(field, "group \(id) is not mapped to one of the host") }
    return host
  }

  /// Who owns what a container's root owns.
  package func hostRoot() throws(PlanError) -> (user: UInt32, group: UInt32) {
    (try hostUser(0, field: "linux.uidMappings"), try hostGroup(0, field: "linux.gidMappings"))
  }
}

extension PlanCompiler {
  /// Options of a file system that name ids, as the host counts them, and its root owned by the container's.
  func hostOptions(
    _ data: [(key: String, value: String?)], type: String, field: String
  ) throws(PlanError) -> [(key: String, value: String?)] {
    guard let users, type == "tmpfs" || type == "devpts" else { return data }
    var options: [(key: String, value: String?)] = []
    for (key, value) in data {
      guard key == "uid" || key == "gid" else {
        options.append((key, value))
        continue
      }
      guard let id = value.flatMap({ UInt32($0) }) else {
        throw PlanError("\(field).options", "\(key)=\(value ?? ""): a number is needed")
      }
      let host =
        key == "uid"
        ? try users.hostUser(id, field: "\(field).options") : try users.hostGroup(id, field: "\(field).options")
      options.append((key, "\(host)"))
    }
    guard type == "tmpfs" else { return options }
    let root = try users.hostRoot()
    if !options.contains(where: { $0.key == "uid" }) { options.append(("uid", "\(root.user)")) }
    if !options.contains(where: { $0.key == "gid" }) { options.append(("gid", "\(root.group)")) }
    return options
  }

  /// Whether the ids of a bound mount are mapped; nil: not at all.
  func mapsIDs(of mount: RuntimeSpec.Mount, _ options: MountOptions, field: String) throws(PlanError) -> Bool? {
    guard options.isIDMapped || !mount.uidMappings.isEmpty || !mount.gidMappings.isEmpty else { return nil }
    guard let users else {
      throw PlanError("\(field).uidMappings", "mapped ids need a user namespace of the pod's own")
    }
    if !mount.uidMappings.isEmpty || !mount.gidMappings.isEmpty {
      guard mount.uidMappings == users.uids, mount.gidMappings == users.gids else {
        throw PlanError("\(field).uidMappings", "only the mappings of the pod's user namespace are supported")
      }
    }
    return options.isMapRecursive
  }
}
