internal import JSON
package import KubeModel

/// A change that a watch tells of.
package enum WatchEvent<T: KubeResource>: Sendable {
  case added(T)
  case modified(T)
  /// The object as it was last.
  case deleted(T)
  /// Everything up to this revision has been told.
  case bookmark(resourceVersion: String)
  /// The server ends the watch: `isGone` means that a list must come first. An object that cannot be read comes this way
  /// too (`.answer`), and the watch goes on.
  case error(KubeError)
}

package struct WatchOptions: Hashable, Sendable {
  package var labelSelector: String?
  package var fieldSelector: String?
  /// Changes after this revision; nil begins with what there is now.
  package var resourceVersion: String?
  /// Seconds after which the server ends the watch.
  package var timeoutSeconds: Int?
  package var allowsBookmarks: Bool

  package init(
    labelSelector: String? = nil, fieldSelector: String? = nil, resourceVersion: String? = nil,
    timeoutSeconds: Int? = nil, allowsBookmarks: Bool = true
  ) {
    self.labelSelector = labelSelector
    self.fieldSelector = fieldSelector
    self.resourceVersion = resourceVersion
    self.timeoutSeconds = timeoutSeconds
    self.allowsBookmarks = allowsBookmarks
  }

  var query: [(name: String, value: String)] {
    let items: [(String, String?)] = [
      ("watch", "true"), ("labelSelector", labelSelector), ("fieldSelector", fieldSelector),
      ("resourceVersion", resourceVersion), ("timeoutSeconds", timeoutSeconds.map { "\($0)" }),
      ("allowWatchBookmarks", allowsBookmarks ? "true" : nil),
    ]
    return items.compactMap { name, value in value.map { (name, $0) } }
  }
}

extension KubeClient {
  /// Opens a watch; the events are read from what it returns, once. Letting go of that ends the watch.
  /// - Throws: `isGone` where the revision is no longer kept.
  package func watch<T: KubeResource>(
    _ type: T.Type = T.self, namespace: String? = nil, _ options: WatchOptions = WatchOptions()
  ) async throws(KubeError) -> KubeWatch<T> {
    let request = KubeRequest(.get, T.resource.path(namespace: namespace), query: options.query, timeoutSeconds: nil)
    return KubeWatch(body: try await stream(request).body, call: "\(request.call)?watch")
  }
}

/// The events of one watch. Ends where the server ends it; throws where the connection breaks.
package struct KubeWatch<T: KubeResource>: AsyncSequence, Sendable {
  package typealias Element = WatchEvent<T>
  package typealias Failure = KubeError

  private let body: KubeBody
  private let call: String

  init(body: KubeBody, call: String) {
    self.body = body
    self.call = call
  }

  package struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate var chunks: KubeBody.AsyncIterator
    fileprivate let call: String
    private var lines = LineSplitter()

    fileprivate init(chunks: KubeBody.AsyncIterator, call: String) {
      self.chunks = chunks
      self.call = call
    }

    package mutating func next(
      isolation actor: isolated (any Actor)? = #isolation
    ) async throws(KubeError) -> WatchEvent<T>? {
      while true {
        while let line = lines.next() {
          if let event = try event(line) { return event }
        }
        guard let chunk = try await chunks.next(isolation: actor) else {
          guard lines.isEmpty else {
            throw KubeError(.connection(wasSent: true), message: "the watch broke off within an event", call: call)
          }
          return nil
        }
        guard lines.append(chunk) else {
          throw KubeError(
            .tooLarge, message: "an event has more than \(LineSplitter.lineBytesMax) bytes", call: call)
        }
      }
    }

    private func event(_ line: [UInt8]) throws(KubeError) -> WatchEvent<T>? {
      if line.allSatisfy({ $0 == 0x20 || $0 == 0x0D }) { return nil }
      let document: JSONValue
      do throws(JSONError) {
        document = try JSONValue.parse(line, limits: JSONLimits(maxBytes: LineSplitter.lineBytesMax))
      } catch {
        throw KubeError(.answer, message: "an event is no document: \(error)", call: call)
      }
      guard let type = document["type"]?.string, let object = document["object"] else {
        throw KubeError(.answer, message: "an event has no type or no object", call: call)
      }
      switch type {
      case "BOOKMARK": return .bookmark(resourceVersion: object["metadata"]?["resourceVersion"]?.string ?? "")
      case "ERROR":
        return .error(KubeError(status: object, code: Int(object["code"]?.integer ?? 0), call: call))
      case "ADDED", "MODIFIED", "DELETED": break
      default: throw KubeError(.answer, message: "an event is of the unknown type \(type)", call: call)
      }
      let read: T
      do throws(ModelError) {
        read = try T(lenient: object)
      } catch {
        let name = object["metadata"]?["name"]?.string ?? "without a name"
        return .error(KubeError(.answer, message: "\(T.kind) \(name) cannot be read: \(error)", call: call))
      }
      return type == "ADDED" ? .added(read) : type == "MODIFIED" ? .modified(read) : .deleted(read)
    }
  }

  package func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(chunks: body.makeAsyncIterator(), call: call)
  }
}

/// Cuts a stream of pieces into lines.
struct LineSplitter {
  /// An object of the largest size that etcd takes (1.5 MiB) fits, however much its text is escaped.
  static let lineBytesMax = 16 << 20

  private var buffer: [UInt8] = []
  private var start = 0
  /// Bytes before this hold no line feed.
  private var searched = 0

  var isEmpty: Bool { start == buffer.count }

  /// False where the line that is not yet complete has become too long.
  mutating func append(_ chunk: [UInt8]) -> Bool {
    if start == buffer.count {
      buffer = chunk
      (start, searched) = (0, 0)
    } else {
      if start > 0 {
        buffer.removeFirst(start)
        (start, searched) = (0, searched - start)
      }
      buffer += chunk
    }
    return buffer.count - start <= Self.lineBytesMax + chunk.count
  }

  /// A line without its line feed; nil where none is complete.
  mutating func next() -> [UInt8]? {
    guard let end = buffer[searched...].firstIndex(of: 0x0A) else {
      searched = buffer.count
      return nil
    }
    defer { (start, searched) = (end + 1, end + 1) }
    return Array(buffer[start..<end])
  }
}
