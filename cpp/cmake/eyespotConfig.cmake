# find_package(eyespot CONFIG [COMPONENTS solver vision])
#
#   eyespot::solver   linear algebra, L-BFGS, softmax regression; needs Google Highway
#   eyespot::vision   decoding, resizing, loading of images; needs the codecs' libraries too
#   eyespot::core     both; made when vision is asked for
#
# Without COMPONENTS both are asked for. What is not asked for is not looked for.
include("${CMAKE_CURRENT_LIST_DIR}/eyespotDependencies.cmake")

set(_eyespot_asked ${eyespot_FIND_COMPONENTS})
if(NOT _eyespot_asked)
  set(_eyespot_asked vision)
  set(eyespot_FIND_REQUIRED_vision TRUE)
endif()

foreach(_eyespot_column IN LISTS _eyespot_asked)
  set(_eyespot_message "")
  if(_eyespot_column MATCHES "^(solver|vision)$")
    eyespot_find_dependencies(_eyespot_missing ${_eyespot_column})
    if(_eyespot_missing)
      eyespot_explain_missing(_eyespot_message
        "eyespot's component '${_eyespot_column}' cannot be linked" "${_eyespot_missing}")
    endif()
  else()
    set(_eyespot_message "eyespot has no component '${_eyespot_column}'; it has: solver vision")
  endif()

  if(_eyespot_message)
    set(eyespot_${_eyespot_column}_FOUND FALSE)
    if(eyespot_FIND_REQUIRED_${_eyespot_column})
      set(eyespot_FOUND FALSE)
      set(eyespot_NOT_FOUND_MESSAGE "${_eyespot_message}")
    endif()
    continue()
  endif()
  set(eyespot_${_eyespot_column}_FOUND TRUE)
  include("${CMAKE_CURRENT_LIST_DIR}/eyespot-solver-targets.cmake")
  if(_eyespot_column STREQUAL "vision")
    include("${CMAKE_CURRENT_LIST_DIR}/eyespot-vision-targets.cmake")
  endif()
endforeach()
unset(_eyespot_asked)
unset(_eyespot_column)
unset(_eyespot_message)
unset(_eyespot_missing)
