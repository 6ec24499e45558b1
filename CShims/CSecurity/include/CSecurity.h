#ifndef CSECURITY_H
#define CSECURITY_H
#endif
