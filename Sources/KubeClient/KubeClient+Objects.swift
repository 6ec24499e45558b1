package import JSON
package import KubeModel

/// Which objects, and how many at a time.
package struct ListOptions: Hashable, Sendable {
  /// As the query takes it: `app=web,tier!=cache`.
  package var labelSelector: String?
  /// `spec.nodeName=n1`.
  package var fieldSelector: String?
  /// Objects of a page; nil for all at once.
  package var limit: Int?
  package var continueToken: String?
  /// `0`: any revision will do. Nil: the newest.
  package var resourceVersion: String?

  package init(
    labelSelector: String? = nil, fieldSelector: String? = nil, limit: Int? = nil, continueToken: String? = nil,
    resourceVersion: String? = nil
  ) {
    self.labelSelector = labelSelector
    self.fieldSelector = fieldSelector
    self.limit = limit
    self.continueToken = continueToken
    self.resourceVersion = resourceVersion
  }

  var query: [(name: String, value: String)] {
    let items: [(String, String?)] = [
      ("labelSelector", labelSelector), ("fieldSelector", fieldSelector), ("limit", limit.map { "\($0)" }),
      ("continue", continueToken), ("resourceVersion", continueToken == nil ? resourceVersion : nil),
    ]
    return items.compactMap { name, value in value.map { (name, $0) } }
  }
}

/// One page of a collection.
package struct KubeList<T: KubeResource>: Sendable {
  package var items: [T]
  /// Of the collection: what a watch goes on from.
  package var resourceVersion: String
  /// Nil on the last page.
  package var continueToken: String?
  package var remainingItemCount: Int64?
}

/// What a patch document is.
package enum KubePatch: Hashable, Sendable {
  case merge(JSONValue)
  case strategic(JSONValue)
  /// RFC 6902 operations.
  case json(JSONValue)
  /// Server-side apply.
  case apply(JSONValue, fieldManager: String, force: Bool)

  var contentType: String {
    switch self {
    case .merge: "application/merge-patch+json"
    case .strategic: "application/strategic-merge-patch+json"
    case .json: "application/json-patch+json"
    case .apply: "application/apply-patch+yaml"
    }
  }

  var document: JSONValue {
    switch self {
    case .merge(let document), .strategic(let document), .json(let document), .apply(let document, _, _): document
    }
  }
}

/// What happens to the objects that the deleted one owns.
package enum DeletePropagation: String, Hashable, Sendable {
  case background = "Background"
  case foreground = "Foreground"
  case orphan = "Orphan"
}

extension KubeClient {
  private static func path<T: KubeResource>(
    _ type: T.Type, _ namespace: String?, _ name: String, _ subresource: String? = nil
  ) -> String {
    let tail = subresource.map { "/\($0)" } ?? ""
    return "\(T.resource.path(namespace: namespace))/\(name)\(tail)"
  }

  private func path<T: KubeResource>(of object: T, _ subresource: String? = nil) throws(KubeError) -> String {
    guard let name = object.metadata.name, !name.isEmpty else {
      throw KubeError(.configuration, message: "a \(T.kind) without metadata.name cannot be addressed")
    }
    return Self.path(T.self, object.metadata.namespace, name, subresource)
  }

  func decoded<T: KubeKind>(_ document: JSONValue, _ call: String) throws(KubeError) -> T {
    do throws(ModelError) {
      return try T(lenient: document)
    } catch {
      throw KubeError(.answer, message: "the answer is no \(T.kind) that can be read: \(error)", call: call)
    }
  }

  func object<T: KubeKind>(_ request: KubeRequest) async throws(KubeError) -> T {
    try decoded(try await document(request), request.call)
  }

  // MARK: Read

  package func get<T: KubeResource>(
    _ type: T.Type = T.self, name: String, namespace: String? = nil
  ) async throws(KubeError) -> T {
    try await object(KubeRequest(.get, Self.path(type, namespace, name)))
  }

  /// A subresource that is a kind of its own, such as `scale`.
  package func get<T: KubeResource, S: KubeKind>(
    _ subresource: String, as kind: S.Type = S.self, of type: T.Type, name: String, namespace: String? = nil
  ) async throws(KubeError) -> S {
    try await object(KubeRequest(.get, Self.path(type, namespace, name, subresource)))
  }

  /// One page.
  package func list<T: KubeResource>(
    _ type: T.Type = T.self, namespace: String? = nil, _ options: ListOptions = ListOptions()
  ) async throws(KubeError) -> KubeList<T> {
    var broken: KubeError?
    let page: KubeList<T> = try await page(namespace, options) { broken = broken ?? $0 }
    if let broken { throw broken }
    return page
  }

  /// Every object, page after page of 500.
  package func listAll<T: KubeResource>(
    _ type: T.Type = T.self, namespace: String? = nil, _ options: ListOptions = ListOptions()
  ) async throws(KubeError) -> KubeList<T> {
    var options = options
    options.limit = options.limit ?? 500
    var all: KubeList<T> = try await list(namespace: namespace, options)
    while let token = all.continueToken {
      options.continueToken = token
      let page: KubeList<T> = try await list(namespace: namespace, options)
      all.items += page.items
      (all.resourceVersion, all.continueToken) = (page.resourceVersion, page.continueToken)
    }
    return all
  }

  /// One page; an item that cannot be read is given to `broken` and left out.
  func page<T: KubeResource>(
    _ namespace: String?, _ options: ListOptions, broken: (KubeError) -> Void
  ) async throws(KubeError) -> KubeList<T> {
    let request = KubeRequest(
      .get, T.resource.path(namespace: namespace), query: options.query, timeoutSeconds: Self.timeoutSecondsDefault * 2)
    let document = try await document(request)
    guard let listed = document["items"], listed.isNull || listed.array != nil else {
      throw KubeError(.answer, message: "the answer is no list", call: request.call)
    }
    let metadata = document["metadata"]
    var items: [T] = []
    items.reserveCapacity(listed.array?.count ?? 0)
    for item in listed.array ?? [] {
      do throws(KubeError) { items.append(try decoded(item, request.call)) } catch { broken(error) }
    }
    let token = metadata?["continue"]?.string
    return KubeList(
      items: items, resourceVersion: metadata?["resourceVersion"]?.string ?? "",
      continueToken: token == "" ? nil : token, remainingItemCount: metadata?["remainingItemCount"]?.integer)
  }

  // MARK: Write

  package func create<T: KubeResource>(_ object: T) async throws(KubeError) -> T {
    let path = T.resource.path(namespace: object.metadata.namespace)
    return try await self.object(KubeRequest(.post, path, body: object.json.encoded()))
  }

  /// Replaces all but the status. The server refuses it where `resourceVersion` is set and no longer the newest.
  package func update<T: KubeResource>(_ object: T) async throws(KubeError) -> T {
    try await self.object(KubeRequest(.put, try path(of: object), body: object.json.encoded()))
  }

  package func updateStatus<T: KubeResource>(_ object: T) async throws(KubeError) -> T {
    try await self.object(KubeRequest(.put, try path(of: object, "status"), body: object.json.encoded()))
  }

  /// Replaces a subresource that is a kind of its own, such as `scale`.
  package func update<T: KubeResource, S: KubeKind>(
    _ subresource: String, _ value: S, of type: T.Type, name: String, namespace: String? = nil
  ) async throws(KubeError) -> S {
    try await object(
      KubeRequest(.put, Self.path(type, namespace, name, subresource), body: value.json.encoded()))
  }

  package func patch<T: KubeResource>(
    _ type: T.Type = T.self, name: String, namespace: String? = nil, _ patch: KubePatch, subresource: String? = nil
  ) async throws(KubeError) -> T {
    var request = KubeRequest(
      .patch, Self.path(type, namespace, name, subresource), headers: [("Content-Type", patch.contentType)],
      body: patch.document.encoded())
    if case .apply(_, let fieldManager, let force) = patch {
      request.query = [("fieldManager", fieldManager), ("force", "\(force)")]
    }
    return try await object(request)
  }

  /// - Parameters:
  ///   - graceSeconds: nil for the object's own; 0 removes at once.
  ///   - uid: deletes only the object with this uid, not a later one of the same name (else a conflict).
  /// - Returns: the revision at which the object went, or was marked to go; nil where the server does not tell it.
  @discardableResult
  package func delete<T: KubeResource>(
    _ type: T.Type, name: String, namespace: String? = nil, graceSeconds: Int64? = nil,
    propagation: DeletePropagation? = nil, uid: String? = nil, resourceVersion: String? = nil
  ) async throws(KubeError) -> String? {
    let options = Self.deleteOptions(graceSeconds, propagation, uid, resourceVersion)
    let answer = try await raw(KubeRequest(.delete, Self.path(type, namespace, name), body: options.json.encoded()))
    // Gone is gone, whatever the answer looks like.
    guard let document = try? JSONValue.parse(answer), document["kind"]?.string == T.kind else { return nil }
    return document["metadata"]?["resourceVersion"]?.string
  }

  package func deleteCollection<T: KubeResource>(
    _ type: T.Type, namespace: String?, _ selection: ListOptions = ListOptions(),
    propagation: DeletePropagation? = nil
  ) async throws(KubeError) {
    let options = Self.deleteOptions(nil, propagation, nil, nil)
    _ = try await raw(
      KubeRequest(
        .delete, T.resource.path(namespace: namespace), query: selection.query, body: options.json.encoded()))
  }

  private static func deleteOptions(
    _ graceSeconds: Int64?, _ propagation: DeletePropagation?, _ uid: String?, _ resourceVersion: String?
  ) -> DeleteOptions {
    var options = DeleteOptions()
    (options.apiVersion, options.kind) = ("v1", "DeleteOptions")
    options.gracePeriodSeconds = graceSeconds
    options.propagationPolicy = propagation?.rawValue
    if uid != nil || resourceVersion != nil {
      var preconditions = Preconditions()
      (preconditions.uid, preconditions.resourceVersion) = (uid, resourceVersion)
      options.preconditions = preconditions
    }
    return options
  }

  /// Gives a pod its node.
  /// - Throws: a conflict where it has one already.
  package func bind(pod name: String, namespace: String, uid: String? = nil, to node: String) async throws(KubeError) {
    var binding = Binding()
    (binding.metadata.name, binding.metadata.namespace, binding.metadata.uid) = (name, namespace, uid)
    (binding.target.apiVersion, binding.target.kind, binding.target.name) = ("v1", "Node", node)
    _ = try await raw(
      KubeRequest(.post, Self.path(Pod.self, namespace, name, "binding"), body: binding.json.encoded()))
  }

  // MARK: Optimistic changes

  /// Tries of a change whose object keeps changing under it.
  package static let conflictTriesMax = 5

  /// Changes the status of an object, reading it anew where another writer was faster.
  ///
  /// - Parameter change: is given the object and returns false where nothing is to be written.
  /// - Returns: the object as it is now.
  package func updateStatus<T: KubeResource>(
    retrying object: T, _ change: (inout T) -> Bool
  ) async throws(KubeError) -> T {
    try await retrying(object, change) { changed throws(KubeError) in try await updateStatus(changed) }
  }

  /// Changes an object, reading it anew where another writer was faster.
  package func update<T: KubeResource>(
    retrying object: T, _ change: (inout T) -> Bool
  ) async throws(KubeError) -> T {
    try await retrying(object, change) { changed throws(KubeError) in try await update(changed) }
  }

  private func retrying<T: KubeResource>(
    _ object: T, _ change: (inout T) -> Bool, _ write: (T) async throws(KubeError) -> T
  ) async throws(KubeError) -> T {
    var object = object
    let uid = object.metadata.uid
    for attempt in 1... {
      var changed = object
      guard change(&changed) else { return object }
      do throws(KubeError) {
        return try await write(changed)
      } catch {
        guard error.isConflict, attempt < Self.conflictTriesMax else { throw error }
      }
      object = try await get(name: object.metadata.name ?? "", namespace: object.metadata.namespace)
      // Another object has taken the name: the change was not meant for it.
      guard uid == nil || object.metadata.uid == uid else {
        let key = ObjectKey(object)
        throw KubeError(
          .status, code: 404, reason: "NotFound",
          message: "\(T.resource.plural) \"\(key.name)\" with uid \(uid ?? "") not found")
      }
    }
    return object
  }
}
