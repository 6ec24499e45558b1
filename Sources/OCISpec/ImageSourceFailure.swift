/// An error of whatever an image comes from, sorted so that the store can answer for it without knowing the source.
package protocol ImageSourceFailure: Error {
  var failureKind: ImageSourceFailureKind { get }
}

package enum ImageSourceFailureKind: Hashable, Sendable {
  case notFound, denied, unavailable, invalid, unsupported, corrupt, tooLarge, cancelled
}
