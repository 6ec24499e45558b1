import HTTPServer
import JSON
import Kernel
import KubePresentation
import Synchronization

/// A document with the name of its content. Long ones are kept compressed, as nearly everybody wants them.
final class CachedDocument: Sendable {
  private let bytes: [UInt8]
  private let isPacked: Bool
  let hash: String
  let mediaType: String

  init(_ bytes: [UInt8], mediaType: String = "application/json") {
    self.mediaType = mediaType
    hash = ContentHash.of(bytes)
    if bytes.count >= Self.packedFromBytes, let packed = try? Zlib.gzip([bytes], level: Self.level) {
      self.bytes = packed
      isPacked = true
    } else {
      self.bytes = bytes
      isPacked = false
    }
  }

  private static let packedFromBytes = 16 << 10
  /// zlib's usual: made once.
  private static let level: Int32 = 6
  /// Of a document that is expanded again: none of ours is longer.
  private static let bytesMax = 64 << 20
}

/// Documents that are made when they are first asked for, and then kept: they change with the program only.
final class DocumentCache: Sendable {
  private let documents = Mutex<[String: CachedDocument]>([:])

  /// - Parameter make: runs outside the lock, since it may take some tens of milliseconds; two who ask at the same time
  ///   may both make the document.
  func document(_ name: String, _ make: () -> CachedDocument?) -> CachedDocument? {
    if let known = documents.withLock({ $0[name] }) { return known }
    guard let made = make() else { return nil }
    return documents.withLock { documents in
      if let known = documents[name] { return known }
      documents[name] = made
      return made
    }
  }
}

extension CachedDocument {
  /// The document, or 304 for who has it already.
  func response(to request: HTTPRequest, cacheControl: String = "public") -> HTTPResponse {
    let headers: HTTPFields = ["ETag": "\"\(hash)\"", "Vary": "Accept", "Cache-Control": cacheControl]
    if isKnown(request) { return HTTPResponse(status: 304, headers: headers) }
    var response = HTTPResponse(status: 200, headers: headers, body: .bytes(bytes))
    response.headers["Content-Type"] = mediaType
    guard isPacked else { return response }
    response.headers["Vary"] = "Accept, Accept-Encoding"
    if request.acceptsGzip {
      response.headers["Content-Encoding"] = "gzip"
      return response
    }
    do throws(ZlibError) {
      response.body = .bytes(try Zlib(.expand, format: .gzip).process(bytes, limit: Self.bytesMax))
      return response
    } catch {
      return .text("expand the document: \(error)\n", status: 500)
    }
  }

  private func isKnown(_ request: HTTPRequest) -> Bool {
    request.headers.tokens("if-none-match").contains { token in
      let tag = token.hasPrefix("W/") ? String(token.dropFirst(2)) : token
      return tag == "*" || tag == "\"\(hash)\""
    }
  }
}
