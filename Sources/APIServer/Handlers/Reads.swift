import HTTPServer
import JSON
import KubeModel
import KubeSchema
import ObjectStore

extension APIServer {
  /// GET of one object: a look into memory, and the revision written between its bytes.
  func get(_ context: RequestContext) throws(APIStatus) -> HTTPResponse {
    if let text = context.query["resourceVersion"], let version = Int64(text), version > store.revision {
      throw .tooLargeRevision(version, current: store.revision)
    }
    guard let object = store.get(context.key) else { throw context.notFound() }
    if context.isPlainProtobuf {
      return HTTPResponse(
        status: 200, headers: ["Content-Type": Encoding.protobuf.mediaType, "Cache-Control": Self.uncached],
        body: .bytes(try protobuf(object, context.resource)))
    }
    return try answer(AnsweredObject(value: object.value, revision: object.revision), context)
  }

  /// A page of the objects that the selectors match.
  struct Page: Sendable {
    var objects: [StoredObject]
    var revision: Int64
    var continueToken: String?
    /// Nil where selectors make it unknown.
    var remaining: Int?

    var metadata: JSONObject {
      var metadata: JSONObject = ["resourceVersion": .string(String(revision))]
      if let continueToken { metadata["continue"] = .string(continueToken) }
      if let remaining, remaining > 0 { metadata["remainingItemCount"] = .integer(Int64(remaining)) }
      return metadata
    }
  }

  func list(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    let options = try ListOptions(context.query, isWatch: false)
    let selection = try Selection(options, context.resource, index)
    let page = try await page(context.resource, namespace: context.namespace, options, selection)
    if context.isPlain {
      return HTTPResponse(
        status: 200, headers: ["Content-Type": "application/json", "Cache-Control": Self.uncached],
        body: .chunks(Self.encodedList(page, context.resource)))
    }
    if context.isPlainProtobuf, let parts = try protobufList(page, context.resource) {
      return HTTPResponse(
        status: 200, headers: ["Content-Type": Encoding.protobuf.mediaType, "Cache-Control": Self.uncached],
        body: .chunks(parts))
    }
    var documents: [JSONValue] = []
    documents.reserveCapacity(page.objects.count)
    for object in page.objects {
      documents.append(try document(AnsweredObject(value: object.value, revision: object.revision), context.resource))
    }
    return encoded(formed(documents, list: page.metadata, context), context.negotiated.encoding)
  }

  /// Bytes of a part of a list's answer: fewer than what the allocator would ask the kernel for each time.
  private static let chunkBytes = 128 << 10

  /// The list as JSON, of the stored bytes.
  private static func encodedList(_ page: Page, _ resource: ServedResource) -> [[UInt8]] {
    let metadata = JSONValue.object(page.metadata).encodedString()
    var chunk = Array(
      "{\"kind\":\"\(resource.kind)List\",\"apiVersion\":\"\(resource.type.apiVersion)\",\"metadata\":\(metadata),\"items\":["
        .utf8)
    var chunks: [[UInt8]] = []
    let total = page.objects.reduce(chunk.count + 16) { $0 + $1.value.count + 48 }
    chunk.reserveCapacity(min(total, chunkBytes + chunkBytes / 4))
    for (number, object) in page.objects.enumerated() {
      if number > 0 { chunk.append(UInt8(ascii: ",")) }
      resource.append(object.value, revision: object.revision, to: &chunk)
      if chunk.count >= chunkBytes {
        chunks.append(chunk)
        chunk = []
        chunk.reserveCapacity(chunkBytes + chunkBytes / 4)
      }
    }
    chunk += "]}".utf8
    chunks.append(chunk)
    return chunks
  }

  /// The list in protobuf, of the objects' messages; nil where the table has no such list.
  private func protobufList(_ page: Page, _ resource: ServedResource) throws(APIStatus) -> [[UInt8]]? {
    guard let type = schema.type(apiVersion: resource.type.apiVersion, kind: "\(resource.kind)List") else { return nil }
    let messages = try encodings.messages(page.objects) { (object) throws(APIStatus) in
      try makeMessage(object, resource)
    }
    do throws(ProtobufError) {
      return try KubeProtobuf.list(
        messages, metadata: page.metadata, as: type, partBytes: Self.chunkBytes, schema: schema)
    } catch {
      throw .internalError("list \(resource.qualified): \(error)")
    }
  }

  /// - Throws: `Expired` where the revision asked for is forgotten, `Timeout` where it has not come yet.
  func page(
    _ resource: ServedResource, namespace: String, _ options: ListOptions, _ selection: Selection
  ) async throws(APIStatus) -> Page {
    let prefix = resource.prefix(namespace: namespace)
    var after: String?
    var revision: Int64?
    if !options.continueToken.isEmpty {
      if let version = options.resourceVersion, version != 0 {
        throw .badRequest("specifying resource version is not allowed when using continue")
      }
      let token = try ContinueToken(options.continueToken)
      after = prefix + token.after
      revision = token.revision
    } else if let version = options.resourceVersion, version > 0 {
      if version > store.revision { throw .tooLargeRevision(version, current: store.revision) }
      if options.match == .exact || options.match == nil && options.limit != nil { revision = version }
    }
    if let name = selection.name, options.continueToken.isEmpty, revision == nil,
      !namespace.isEmpty || !resource.type.isNamespaced
    {
      // One object at most: no need to look at the others.
      let revision = store.revision
      let object = store.get(resource.key(namespace: namespace, name: name))
      return Page(objects: object.map { [$0] }?.filter(selection.matches) ?? [], revision: revision)
    }
    return try await page(prefix, after: after, revision: revision, options, selection)
  }

  /// Objects looked at in one go while a selector is applied.
  private static let scanPage = 500

  private func page(
    _ prefix: String, after: String?, revision: Int64?, _ options: ListOptions, _ selection: Selection
  ) async throws(APIStatus) -> Page {
    var after = after
    var revision = revision
    var found: [StoredObject] = []
    while true {
      let wanted = selection.isEverything ? options.limit : options.limit.map { max($0 - found.count, Self.scanPage) }
      let listing: Listing
      do throws(StoreError) {
        listing = try await store.list(prefix: prefix, after: after, limit: wanted, at: revision)
      } catch {
        throw expired(error, prefix: prefix, options, after: after)
      }
      revision = listing.revision
      var taken = 0
      for object in listing.objects {
        if let limit = options.limit, found.count >= limit { break }
        taken += 1
        if selection.matches(object) { found.append(object) }
      }
      after = taken > 0 ? listing.objects[taken - 1].key : after
      let remaining = listing.remaining + listing.objects.count - taken
      if remaining == 0 { return Page(objects: found, revision: listing.revision) }
      if let limit = options.limit, found.count >= limit, let after {
        let token = ContinueToken(revision: listing.revision, after: String(after.dropFirst(prefix.count)))
        return Page(
          objects: found, revision: listing.revision, continueToken: token.text,
          remaining: selection.isEverything ? remaining : nil)
      }
      if taken == 0 { return Page(objects: found, revision: listing.revision) }
    }
  }

  /// What a list is answered where its revision cannot be had.
  private func expired(_ error: StoreError, prefix: String, _ options: ListOptions, after: String?) -> APIStatus {
    switch error {
    case .compacted where !options.continueToken.isEmpty:
      var status = APIStatus.expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
          + "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
          + "the results. Continuing with the provided token results in an inconsistent list - objects that were "
          + "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
          + "list.")
      status.continueToken = ContinueToken(revision: nil, after: String((after ?? prefix).dropFirst(prefix.count))).text
      return status
    case .compacted(let oldest): return .expired(revision: options.resourceVersion ?? 0, oldest: oldest)
    case .future(let current): return .tooLargeRevision(options.resourceVersion ?? 0, current: current)
    default: return status(error)
    }
  }

  /// A failure of the store that is not the client's doing.
  func status(_ error: StoreError) -> APIStatus {
    switch error {
    case .overloaded: .tooManyRequests(retryAfterSeconds: InFlight.retryAfterSeconds)
    case .invalid(let why): .badRequest(why)
    case .closed: .serviceUnavailable("the server is shutting down")
    default: .internalError("\(error)")
    }
  }
}
